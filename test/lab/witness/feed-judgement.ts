import type { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import type { QmpRecord } from "./records.ts";

/**
 * What is wrong with the feed of one migration as an observer heard it: empty when every publisher's events are
 * there once and in order, nothing is told under an older epoch than before, and what agents say of CPUs is what the
 * witness of the VMMs saw.
 */
export function judgeFeed(events: readonly FeedEvent[], qmp: readonly QmpRecord[]): readonly string[] {
  return [...misnumbered(events), ...epochsGoneBack(events), ...contradicted(events, qmp)];
}

function misnumbered(events: readonly FeedEvent[]): readonly string[] {
  const last = new Map<string, bigint>();
  return events.flatMap(({ hostId, sequence }) => {
    const publisher = hostId === "" ? "the coordinator" : `the agent on ${hostId}`;
    const expected = (last.get(publisher) ?? 0n) + 1n;
    last.set(publisher, sequence);
    return sequence === expected
      ? []
      : [`I7: event ${sequence} of ${publisher} came where ${expected} was due.`];
  });
}

function epochsGoneBack(events: readonly FeedEvent[]): readonly string[] {
  const newest = new Map<string, bigint>();
  return events.flatMap(({ fence, hostId, sequence }) => {
    const epoch = fence?.epoch ?? 0n;
    const before = newest.get(hostId) ?? 0n;
    if (epoch >= before) {
      newest.set(hostId, epoch);
      return [];
    }
    return [
      `I6: event ${sequence} of ${hostId || "the coordinator"} speaks of epoch ${epoch} after ${before}.`,
    ];
  });
}

function contradicted(events: readonly FeedEvent[], qmp: readonly QmpRecord[]): readonly string[] {
  return events.flatMap(({ event, instanceId }) => {
    if (event?.$case === "cpusStopped") {
      return unseen(qmp, instanceId, "STOP", Number(event.value.stoppedAtUnixUs));
    }
    if (event?.$case === "cpusStarted") {
      return unseen(qmp, instanceId, "RESUME", Number(event.value.resumedAtUnixUs));
    }
    return [];
  });
}

function unseen(
  qmp: readonly QmpRecord[],
  instanceId: string,
  name: "STOP" | "RESUME",
  atUnixUs: number,
): readonly string[] {
  const seen = qmp.some(
    ({ atUnixUs: seenAt, fact, instance }) =>
      instance === instanceId && fact.kind === "event" && fact.name === name && seenAt === atUnixUs,
  );
  return seen
    ? []
    : [`The feed tells a ${name} of ${instanceId} at ${atUnixUs} that its VMM did not report.`];
}
