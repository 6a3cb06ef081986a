import { isTerminal } from "../../coordinator/migration/phase-edges.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { ReadMessage } from "./feed-reader.ts";

/**
 * How long each migration that ended stood open after the last that an agent had said about it before: what it waited for
 * coordinators and NATS. Milliseconds.
 */
export function endLagsOf(messages: readonly ReadMessage[]): readonly number[] {
  const said = new Map<string, bigint[]>();
  const ends = new Map<string, bigint>();
  for (const { body } of messages) {
    const { atUnixUs, event, hostId, migrationId } = FeedEvent.fromJSON(JSON.parse(body));
    if (hostId !== "") said.set(migrationId, [...(said.get(migrationId) ?? []), atUnixUs]);
    else if (event?.$case === "phaseChanged" && isTerminal(event.value.to)) ends.set(migrationId, atUnixUs);
  }
  return [...ends].flatMap(([migrationId, endUnixUs]) => {
    const lagsUs = (said.get(migrationId) ?? []).map((atUnixUs) => Number(endUnixUs - atUnixUs));
    const leastUs = Math.min(...lagsUs.filter((lagUs) => lagUs >= 0));
    return Number.isFinite(leastUs) ? [leastUs / 1_000] : [];
  });
}
