import {
  type Instant,
  InstantKind,
  type Migration,
  MigrationMode,
  Outcome,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import { INSTANT_WORDS } from "./instant-words.ts";

/**
 * What happened at a switchover, for a person to read at a glance: one lane a host, time downwards, milliseconds from
 * the source's STOP; the hand-off crosses from lane to lane.
 *
 *         ms | ha (source)          | hb (destination)
 *      0.000 | STOP                 |
 *      0.412 | deregistered         |
 *      2.310 | handed off --------> |
 *      2.905 |                      | hand-off received
 *      4.702 |                      | RESUME
 *
 * Times of two hosts are each by their own clock; how well they compare is up to the clocks.
 */
const MS_WIDTH = 10;
const LANE_WIDTH = 24;

/** The whole text, without a last line break. Pure. */
export function renderTimeline(migration: Migration): string {
  const source = migration.spec?.sourceHostId ?? "";
  const destination = migration.spec?.destinationHostId ?? "";
  const instants = [...migration.instants].sort(byTime);
  const origin = originOf(instants);
  const lines = [titleOf(migration, source, destination)];
  if (origin === undefined) lines.push("No switchover took place.");
  else {
    lines.push("", row("ms", `${source} (source)`, `${destination} (destination)`));
    lines.push(`${"-".repeat(MS_WIDTH)}-+-${"-".repeat(LANE_WIDTH)}-+-${"-".repeat(LANE_WIDTH)}`);
    for (const instant of instants) lines.push(instantRow(instant, origin, destination));
    lines.push("", ...summaryOf(instants));
  }
  const phases = phaseDurations(migration);
  if (phases !== "") lines.push(phases);
  return lines.join("\n");
}

/** Where the clock starts: at STOP, or at the first step of a guest that was not running. */
function originOf(instants: readonly Instant[]): bigint | undefined {
  return (find(instants, InstantKind.STOPPED) ?? instants[0])?.atUnixUs;
}

function byTime(left: Instant, right: Instant): number {
  if (left.atUnixUs === right.atUnixUs) return left.kind - right.kind;
  return left.atUnixUs < right.atUnixUs ? -1 : 1;
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

/** `SWITCHING_OVER` is "switching over". */
export function wordOf(names: Readonly<Record<string, number>>, value: number): string {
  const name = Object.keys(names).find((candidate) => names[candidate] === value) ?? String(value);
  return name.toLowerCase().replaceAll("_", " ");
}

function instantRow(instant: Instant, origin: bigint, destination: string): string {
  const ms = milliseconds(instant.atUnixUs - origin);
  const words = INSTANT_WORDS.get(instant.kind) ?? wordOf(InstantKind, instant.kind);
  if (isAtDestination(instant, destination)) return row(ms, "", words);
  const lane =
    instant.kind === InstantKind.HANDED_OFF ? `${words} `.padEnd(LANE_WIDTH - 1, "-").concat(">") : words;
  return row(ms, lane, "");
}

/** A same-host migration has one host id in both lanes; then the kind decides. */
function isAtDestination(instant: Instant, destination: string): boolean {
  return instant.hostId === destination && instant.kind >= InstantKind.HAND_OFF_RECEIVED;
}

function row(ms: string, source: string, destination: string): string {
  const cells = [ms.padStart(MS_WIDTH), source.padEnd(LANE_WIDTH), destination];
  return cells.join(" | ").trimEnd();
}

function summaryOf(instants: readonly Instant[]): readonly string[] {
  return [
    span(instants, InstantKind.STOPPED, InstantKind.RESUMED, "CPUs stood still"),
    span(instants, InstantKind.DEREGISTERED, InstantKind.REGISTERED, "MAC on neither host"),
    span(instants, InstantKind.READY, InstantKind.RESUMED, "destination ready until RESUME"),
  ].filter((line) => line !== "");
}

function span(instants: readonly Instant[], from: InstantKind, to: InstantKind, words: string): string {
  const [start, end] = [find(instants, from), find(instants, to)];
  if (start === undefined || end === undefined) return "";
  const ms = milliseconds(end.atUnixUs - start.atUnixUs);
  return `${ms.padStart(MS_WIDTH)} ms  ${words}`;
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

function milliseconds(us: bigint): string {
  return (Number(us) / 1000).toFixed(3);
}
