import { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import { Phase, phaseToJSON } from "../../../proto/gen/switchover/v1/migration.ts";
import type { QmpRecord } from "./records.ts";

/**
 * What is wrong with the feed of one migration as an observer heard it: empty when every publisher's events are
 * there once and in order, each phase follows the one before, none follows the last, nothing is told under an older
 * epoch than before, no two events say the same, and what agents say of CPUs is what the witness of the VMMs saw
 * (null: there is none).
 */
export function judgeFeed(events: readonly FeedEvent[], qmp: readonly QmpRecord[] | null): readonly string[] {
  return [
    ...misnumbered(events),
    ...repeated(events),
    ...unchained(events),
    ...epochsGoneBack(events),
    ...(qmp === null ? [] : contradicted(events, qmp)),
  ];
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

/** One thing that happened at one instant, under two numbers. */
function repeated(events: readonly FeedEvent[]): readonly string[] {
  const seen = new Map<string, bigint>();
  return events.flatMap((event) => {
    const { hostId, sequence } = event;
    const said = JSON.stringify(FeedEvent.toJSON({ ...event, sequence: 0n }));
    const before = seen.get(said);
    seen.set(said, sequence);
    return before === undefined || before === sequence
      ? []
      : [`I7: event ${sequence} of ${hostId || "the coordinator"} says what ${before} had said.`];
  });
}

function unchained(events: readonly FeedEvent[]): readonly string[] {
  let phase: Phase = Phase.UNSPECIFIED;
  return events.flatMap(({ event, sequence }) => {
    if (event?.$case !== "phaseChanged") return [];
    const { from, to } = event.value;
    const before = phase;
    phase = to;
    return from === before
      ? []
      : [
          `I7: phase ${phaseToJSON(to)} (${sequence}) follows ${phaseToJSON(before)}, not ${phaseToJSON(from)}.`,
        ];
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
  // An agent that was away then does not know when, and says so.
  if (atUnixUs === 0) return [];
  const seen = qmp.some(
    ({ atUnixUs: seenAt, fact, instance }) =>
      instance === instanceId && fact.kind === "event" && fact.name === name && seenAt === atUnixUs,
  );
  return seen
    ? []
    : [`The feed tells a ${name} of ${instanceId} at ${atUnixUs} that its VMM did not report.`];
}
