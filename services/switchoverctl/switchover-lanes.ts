import { type Instant, InstantKind } from "../../proto/gen/switchover/v1/migration.ts";
import { INSTANT_WORDS } from "../wording/instant-words.ts";
import { millisecondsText, wordOf } from "../wording/words.ts";

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
 */
const MS_WIDTH = 10;
const LANE_WIDTH = 24;

export interface LanesOf {
  readonly instants: readonly Instant[];
  readonly sourceHostId: string;
  readonly destinationHostId: string;
  /** What brings the destination's instants onto the source's clock. */
  readonly destinationMovedByUs: bigint;
}

/** A line an instant, under their headings; none where there is no instant. Pure. */
export function renderLanes(of: LanesOf): readonly string[] {
  const { instants, sourceHostId, destinationHostId, destinationMovedByUs } = of;
  const timed = instants
    .map((instant) => {
      const isThere = isAtDestination(instant, destinationHostId);
      return { instant, isThere, atUnixUs: instant.atUnixUs + (isThere ? destinationMovedByUs : 0n) };
    })
    .sort((left, right) => {
      if (left.atUnixUs === right.atUnixUs) return left.instant.kind - right.instant.kind;
      return left.atUnixUs < right.atUnixUs ? -1 : 1;
    });
  // At STOP, or at the first step of a guest that was not running.
  const origin = timed.find(({ instant }) => instant.kind === InstantKind.STOPPED) ?? timed[0];
  if (origin === undefined) return [];
  return [
    row("ms", `${sourceHostId} (source)`, `${destinationHostId} (destination)`),
    `${"-".repeat(MS_WIDTH)}-+-${"-".repeat(LANE_WIDTH)}-+-${"-".repeat(LANE_WIDTH)}`,
    ...timed.map(({ instant, isThere, atUnixUs }) => {
      const ms = millisecondsText(atUnixUs - origin.atUnixUs);
      return isThere ? row(ms, "", wordsOf(instant)) : row(ms, laneOf(instant), "");
    }),
  ];
}

/** A time under the milliseconds of the lanes. */
export function lanesSum(durationUs: bigint, words: string): string {
  return `${millisecondsText(durationUs).padStart(MS_WIDTH)} ms  ${words}`;
}

/** A same-host migration has one host id in both lanes; then the kind decides. */
function isAtDestination(instant: Instant, destination: string): boolean {
  return instant.hostId === destination && instant.kind >= InstantKind.HAND_OFF_RECEIVED;
}

function laneOf(instant: Instant): string {
  const words = wordsOf(instant);
  return instant.kind === InstantKind.HANDED_OFF
    ? `${words} `.padEnd(LANE_WIDTH - 1, "-").concat(">")
    : words;
}

function wordsOf({ kind, round, nicId }: Instant): string {
  const words = INSTANT_WORDS.get(kind) ?? wordOf(InstantKind, kind);
  if (nicId !== "") return `${words} (${nicId})`;
  return round > 1 ? `${words} (${round})` : words;
}

function row(ms: string, source: string, destination: string): string {
  const cells = [ms.padStart(MS_WIDTH), source.padEnd(LANE_WIDTH), destination];
  return cells.join(" | ").trimEnd();
}
