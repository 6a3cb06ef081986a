import type { Metrics } from "../metrics/metrics.ts";
import type { FeedConsumer } from "../nats/feed-consumer.ts";

/** How far the coordinator is behind what agents say in the feed; read at each scrape. */
export function meterFeedLag(metrics: Metrics, consumer: Pick<FeedConsumer, "lag">): void {
  metrics.gauge(
    {
      name: "switchover_coordinator_feed_pending_events",
      help: "Agents' events that the coordinator's consumer of the feed has not taken in yet.",
    },
    () => [{ value: consumer.lag().pending }],
  );
  metrics.gauge(
    {
      name: "switchover_coordinator_feed_behind_seconds",
      help: "How old the last event was when it came, while others wait; 0 where none does.",
    },
    () => [{ value: Math.max(0, consumer.lag().behindUs) / 1_000_000 }],
  );
}
