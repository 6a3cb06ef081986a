import { isTerminal, PHASE_EDGES } from "../../coordinator/migration/phase-edges.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { type Migration, Outcome, type Phase, phaseToJSON } from "../../proto/gen/switchover/v1/migration.ts";
import type { FoundGuest } from "../fleet/fleet-message.ts";
import { judgeFeed } from "../lab/witness/feed-judgement.ts";
import type { ReadMessage } from "./feed-reader.ts";

/** One migration once all is well again, as each who may be asked about it says. */
export interface ChaosMigration {
  readonly guestId: string;
  /** As StartMigration was answered: one for each answer that there was. */
  readonly migrationIds: readonly string[];
  /** As the coordinators tell it, one each. */
  readonly told: readonly Migration[];
  /** Where its guest is. */
  readonly found: FoundGuest | undefined;
}

/** The same messages in the same order, for one who was there all the time and one who came after it. */
export function judgeReaders(
  whole: readonly ReadMessage[],
  later: readonly ReadMessage[],
): readonly string[] {
  const faults: string[] = [];
  const last = later.at(-1)?.position ?? 0;
  // What was said since is for the one alone who is still there.
  const present = whole.filter(({ position }) => position <= last);
  if (present.length !== later.length) {
    faults.push(`I7: one who was there read ${present.length} messages, one who came later ${later.length}.`);
  }
  const different = later.findIndex(
    ({ body, position, subject }, index) =>
      present[index]?.position !== position ||
      present[index].subject !== subject ||
      present[index].body !== body,
  );
  if (different >= 0) faults.push(`I7: the readers differ from message ${later[different]?.position} on.`);
  return faults;
}

/** What must be of every migration, whoever was killed: empty where it is. */
export function judgeMigration(
  { found, guestId, migrationIds, told }: ChaosMigration,
  events: readonly FeedEvent[],
): readonly string[] {
  const [migrationId = ""] = migrationIds;
  const faults = new Set<string>();
  if (new Set(migrationIds).size !== 1)
    faults.add(`was answered as ${[...new Set(migrationIds)].join(", ")}`);
  const strangers = events.filter((event) => event.migrationId !== "" && event.migrationId !== migrationId);
  if (strangers.length > 0) faults.add(`has another migration, ${strangers[0]?.migrationId}`);
  for (const sentence of judgeFeed(
    events.filter((event) => event.migrationId === migrationId),
    null,
  ))
    faults.add(sentence);
  const phases = events.flatMap(({ event, migrationId: of }) =>
    event?.$case === "phaseChanged" && of === migrationId ? [event.value.to] : [],
  );
  for (const sentence of judgePhases(phases)) faults.add(sentence);
  for (const migration of told) {
    const own = migration.phases.map(({ phase }) => phaseToJSON(phase)).join(" ");
    const heard = phases.map(phaseToJSON).join(" ");
    if (own !== heard) faults.add(`is told as ${own}, and in the feed as ${heard}`);
    for (const sentence of judgePlace(migration, found)) faults.add(sentence);
  }
  return [...faults].map((sentence) => `${guestId} (${migrationId}): ${sentence}`);
}

function judgePhases(phases: readonly Phase[]): readonly string[] {
  const last = phases.at(-1);
  if (last === undefined) return ["The feed tells of no phase."];
  const faults = isTerminal(last) ? [] : [`It has not ended: ${phaseToJSON(last)}.`];
  for (let index = 1; index < phases.length; index += 1) {
    const [from, to] = [phases[index - 1], phases[index]];
    if (from === undefined || to === undefined || PHASE_EDGES[from].includes(to)) continue;
    faults.push(`It went from ${phaseToJSON(from)} to ${phaseToJSON(to)}.`);
  }
  return faults;
}

const PLACES: Readonly<Partial<Record<Outcome, FoundGuest["runs"]>>> = {
  [Outcome.RUNS_ON_SOURCE]: "source",
  [Outcome.RUNS_ON_DESTINATION]: "destination",
};

/** No host was struck: the guest runs where it is said to, and is registered there alone. */
function judgePlace({ outcome }: Migration, found: FoundGuest | undefined): readonly string[] {
  const place = PLACES[outcome];
  if (place === undefined) return [`Its outcome is ${outcome}, where no host was struck.`];
  if (found?.runs === place && found.registered === place) return [];
  return [`It is said to run at its ${place}, runs at ${found?.runs}, registered at ${found?.registered}.`];
}

/** The messages by guest. */
export function eventsByGuest(messages: readonly ReadMessage[]): ReadonlyMap<string, readonly FeedEvent[]> {
  const events = new Map<string, FeedEvent[]>();
  for (const { body } of messages) {
    const event = FeedEvent.fromJSON(JSON.parse(body));
    const known = events.get(event.guestId);
    if (known === undefined) events.set(event.guestId, [event]);
    else known.push(event);
  }
  return events;
}
