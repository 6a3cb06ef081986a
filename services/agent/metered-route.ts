import type { RouteBatch } from "../../agent/netlink/route-batch.ts";
import type { RouteMessage, RouteResult } from "../../agent/netlink/route-port.ts";
import type { RouteDump } from "../../agent/netlink/route-request.ts";
import type { RouteSocket } from "../../agent/netlink/route-socket.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { Timing } from "../metrics/timing.ts";

/** The same socket, of which it is known how long the kernel took, and what it refused. */
export class MeteredRoute implements RouteSocket {
  readonly #route: RouteSocket;
  readonly #execute: Timing;
  readonly #dump: Timing;
  /** By errno's name; told at the next scrape. */
  readonly #refused = new Map<string, number>();

  constructor(route: RouteSocket, metrics: Metrics) {
    this.#route = route;
    const took = metrics.timing({
      name: "switchover_agent_netlink_seconds",
      help: "The kernel's answer to one netlink batch (execute) or table (dump), in the agent's own thread.",
      labels: ["operation"],
    });
    this.#execute = took.at("execute");
    this.#dump = took.at("dump");
    metrics.total(
      {
        name: "switchover_agent_netlink_refusals_total",
        help: "Requests that the kernel refused, by errno. What is gone already (ENOENT, ENODEV) is refused too.",
        labels: ["errno"],
      },
      () => [...this.#refused].map(([errno, value]) => ({ texts: [errno], value })),
    );
  }

  execute(batch: RouteBatch): RouteResult[] {
    const beganMs = performance.now();
    try {
      const results = this.#route.execute(batch);
      for (const result of results) if (!result.ok) this.#refuse(result.name);
      return results;
    } finally {
      this.#execute.recordSince(beganMs);
    }
  }

  ready(batch: RouteBatch): void {
    this.#route.ready(batch);
  }

  dump(dump: RouteDump): RouteMessage[] {
    const beganMs = performance.now();
    try {
      return this.#route.dump(dump);
    } finally {
      this.#dump.recordSince(beganMs);
    }
  }

  close(): void {
    this.#route.close();
  }

  #refuse(errno: string): void {
    this.#refused.set(errno, (this.#refused.get(errno) ?? 0) + 1);
  }
}
