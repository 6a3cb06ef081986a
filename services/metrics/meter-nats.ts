import type { NatsLink } from "../nats/connection.ts";
import type { Metrics } from "./metrics.ts";

/** The program's link to NATS. */
export function meterNats(metrics: Metrics, link: Pick<NatsLink, "state" | "onReachable">): void {
  let connections = 0;
  link.onReachable(() => {
    connections += 1;
  });
  metrics.gauge({ name: "switchover_nats_reachable", help: "1 while NATS is reachable, else 0." }, () => [
    { value: link.state === "reachable" ? 1 : 0 },
  ]);
  metrics.total(
    {
      name: "switchover_nats_connections_total",
      help: "How often NATS became reachable, the first time included.",
    },
    () => [{ value: connections }],
  );
}
