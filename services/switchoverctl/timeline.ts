import {
  type Instant,
  InstantKind,
  type Migration,
  MigrationMode,
  Outcome,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import { wordOf } from "../wording/words.ts";
import { lanesSum, renderLanes } from "./switchover-lanes.ts";

/**
 * A migration that has ended, on a page: how it ended, its switchover on two lanes, and the sums that matter. Times of two
 * hosts are each by their own clock; a receipt says how well those compare. Without a last line break. Pure.
 */
export function renderTimeline(migration: Migration): string {
  const sourceHostId = migration.spec?.sourceHostId ?? "";
  const destinationHostId = migration.spec?.destinationHostId ?? "";
  const { instants } = migration;
  const lanes = renderLanes({ instants, sourceHostId, destinationHostId, destinationMovedByUs: 0n });
  const lines = [titleOf(migration, sourceHostId, destinationHostId)];
  if (lanes.length === 0) lines.push("No switchover took place.");
  else lines.push("", ...lanes, "", ...summaryOf(instants));
  const phases = phaseDurations(migration);
  if (phases !== "") lines.push(phases);
  return lines.join("\n");
}

function titleOf(migration: Migration, source: string, destination: string): string {
  const mode = migration.spec?.mode === MigrationMode.POST_COPY ? "post-copy" : "live";
  const guest = migration.spec?.guestId ?? "";
  const ending = endingOf(migration);
  return `${guest}: ${source} -> ${destination}, ${mode}, ${ending}  (${migration.migrationId})`;
}

/** The phase in words, with what it left behind where it is the last. */
export function endingOf(migration: Migration): string {
  const phase = wordOf(Phase, migration.phase);
  const outcome =
    migration.outcome === Outcome.UNSPECIFIED ? "" : `, guest ${wordOf(Outcome, migration.outcome)}`;
  const reason = migration.reason === "" ? "" : `: ${migration.reason}`;
  return `${phase}${outcome}${reason}`;
}

function summaryOf(instants: readonly Instant[]): readonly string[] {
  return [
    ...span(instants, InstantKind.STOPPED, InstantKind.RESUMED, "CPUs stood still"),
    ...span(instants, InstantKind.DEREGISTERED, InstantKind.REGISTERED, "MAC on neither host"),
    ...span(instants, InstantKind.READY, InstantKind.RESUMED, "destination ready until RESUME"),
  ];
}

function span(
  instants: readonly Instant[],
  from: InstantKind,
  to: InstantKind,
  words: string,
): readonly string[] {
  const [start, end] = [find(instants, from), find(instants, to)];
  return start === undefined || end === undefined ? [] : [lanesSum(end.atUnixUs - start.atUnixUs, words)];
}

function phaseDurations(migration: Migration): string {
  return migration.phases
    .flatMap((entry, index) => {
      const next = migration.phases[index + 1];
      if (next === undefined) return [];
      const ms = Number(next.atUnixUs - entry.atUnixUs) / 1000;
      return [`${wordOf(Phase, entry.phase)} ${ms.toFixed(0)} ms`];
    })
    .join(", ");
}

function find(instants: readonly Instant[], kind: InstantKind): Instant | undefined {
  return instants.find((instant) => instant.kind === kind);
}
