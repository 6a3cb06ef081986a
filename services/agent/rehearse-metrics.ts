import type { GuestFeedEvent } from "../../agent/guest/guest-operation.ts";
import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestId, InstanceId } from "../../proto/ids.ts";
import { Metrics } from "../metrics/metrics.ts";
import { AgentMetrics } from "./agent-metrics.ts";

const NOBODY = { guestId: "rehearsal" as GuestId, instanceId: "rehearsal" as InstanceId };
const EVENTS: readonly GuestFeedEvent[] = [
  { $case: "cpusStopped", value: { stoppedAtUnixUs: 1n, receivedAtUnixUs: 1n } },
  { $case: "nicsDeregistered", value: { deregisteredAtUnixUs: 2n } },
  { $case: "handOffReceived", value: { handOff: undefined, route: HandOffRoute.NATS } },
  { $case: "destinationReady", value: { runState: "paused", readyAtUnixUs: 1n } },
  { $case: "nicsRegistered", value: { registeredAtUnixUs: 2n, registrationSentAtUnixUs: 1n } },
  { $case: "cpusStarted", value: { contSentAtUnixUs: 3n, resumedAtUnixUs: 4n } },
  { $case: "announced", value: { round: 1, announcedAtUnixUs: 5n, firstFrames: [] } },
];

/**
 * Counts one stop and one start that never were, in metrics that nobody sees: the first of a guest's own, between its
 * RESUME and its announcement, would take a millisecond of compiling.
 */
export function rehearseMetrics(): void {
  const meter = new AgentMetrics(new Metrics(), { hostId: "rehearsal", version: "" });
  for (const event of EVENTS) meter.said(NOBODY, event, 1);
}
