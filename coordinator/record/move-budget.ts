import { SwitchoverError } from "../../proto/error.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import { completeState } from "../migration/complete-state.ts";

/**
 * How often a guest's MAC may move within a time. EVPN counts the moves of a MAC, takes 5 within 180 s for a duplicate
 * address, and stops forwarding to it until somebody clears that (RFC 7432, 15.1): a guest that is sent to and fro is
 * better kept waiting.
 */
export interface MoveBudget {
  readonly moves: number;
  readonly windowMs: number;
}

/** Moves that a record remembers, and the largest budget. */
export const MOVES_KEPT = 16;

/** The guest's newest moves by its record, oldest first, those of its last migration included. */
export function movesIn(record: GuestRecord | null): readonly bigint[] {
  if (record === null) return [];
  const { migration, movesAtUnixUs } = record;
  const last = migration === undefined ? [] : movesOf(completeState(migration).migration.phases);
  return [...movesAtUnixUs, ...last].slice(-MOVES_KEPT);
}

const ARRIVALS: readonly Phase[] = [Phase.POST_COPY, Phase.COMPLETING, Phase.HANDING_BACK];
const ENDS_OF_SWITCHOVER: readonly Phase[] = [...ARRIVALS, Phase.SWITCHING_OVER];

/**
 * A migration that switched over and went on moved the MAC, one that came back from there moved it once more; one that was
 * rolled back from where it was did not. One that was to be cancelled, too late, goes on with the switchover that it was in.
 */
function movesOf(phases: readonly { readonly phase: Phase; readonly atUnixUs: bigint }[]): bigint[] {
  return phases.flatMap(({ phase, atUnixUs }, index) => {
    if (phase === Phase.HANDING_BACK) return [atUnixUs];
    if (phase !== Phase.SWITCHING_OVER) return [];
    const next = phases.slice(index + 1).find((later) => ENDS_OF_SWITCHOVER.includes(later.phase));
    return next !== undefined && ARRIVALS.includes(next.phase) ? [atUnixUs] : [];
  });
}

/**
 * RESOURCE_EXHAUSTED / MOVE_BUDGET where one move more would exceed the budget; `retry_after_ms` says when it no longer
 * does. A migration that waits in line moves its guest later than that, and exceeds nothing.
 */
export function checkMoveBudget(
  record: GuestRecord | null,
  budget: MoveBudget | null,
  nowUnixUs: bigint,
): void {
  if (record === null || budget === null) return;
  const windowUs = BigInt(budget.windowMs) * 1_000n;
  const recent = movesIn(record).filter((atUnixUs) => atUnixUs > nowUnixUs - windowUs);
  const oldest = recent[recent.length - budget.moves];
  if (oldest === undefined) return;
  const retryAfterMs = (oldest + windowUs - nowUnixUs + 999n) / 1_000n;
  const sentence =
    `Guest ${record.guestId} moved ${recent.length} times within ${budget.windowMs} ms, which is as often as it may; ` +
    `ask again in ${retryAfterMs} ms.`;
  throw new SwitchoverError("RESOURCE_EXHAUSTED", sentence, {
    reason: "MOVE_BUDGET",
    field: "spec.guest_id",
    metadata: { guest_id: record.guestId, retry_after_ms: String(retryAfterMs) },
    retryAfterMs: Number(retryAfterMs),
  });
}
