import type { SwitchoverError } from "../../proto/error.ts";
import {
  type Drain,
  type DrainedGuest,
  DrainedGuestState,
  DrainPhase,
  type DrainSpec,
} from "../../proto/gen/switchover/v1/drain.ts";
import { type Migration, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import { DRAIN_DEFAULTS } from "./drain-request.ts";

/**
 * What a drain is: functions from what it knows, and what it hears of hosts and migrations, to what it knows then.
 *
 *   WAITING -> MIGRATING -> MOVED
 *     | ^          |
 *     | `----------+-> FAILED
 *     `-> LEFT, FAILED
 *
 * A guest is MIGRATING before its migration is asked for, and that under a request id of its own; so whoever goes on after
 * a crash asks for the same again, and gets the same migration.
 */
const { WAITING, MIGRATING, MOVED, FAILED, LEFT } = DrainedGuestState;

/** A guest that was refused is tried again after this, one whose migration failed after so long, doubled each time. */
const TRY_AGAIN_US = 2_000_000n;
const AFTER_FAILURE_US = 5_000_000n;

/** What keeps a guest from going, for scripts and for a person. */
export interface Hindrance {
  readonly reasonCode: string;
  readonly reason: string;
}

const NOTHING: Hindrance = { reasonCode: "", reason: "" };

export const NOT_PREPARED: Hindrance = {
  reasonCode: "NOT_PREPARED",
  reason: "None of the destinations has an instance prepared for it.",
};

const ITS_TURN: Hindrance = {
  reasonCode: "ITS_TURN",
  reason: "As many as may go at a time are on their way.",
};

/** The guests that live on the host by now: new ones are to go, too; who is gone without us has left. */
export function withFound(drain: Drain, living: ReadonlySet<string>): Drain {
  const known = drain.guests.map((guest) => foundAgain(guest, living.has(guest.guestId)));
  const isKnown = new Set(drain.guests.map(({ guestId }) => guestId));
  const found = [...living].filter((guestId) => !isKnown.has(guestId)).sort();
  return { ...drain, guests: [...known, ...found.map(newGuest)] };
}

function foundAgain(guest: DrainedGuest, lives: boolean): DrainedGuest {
  if (guest.state === WAITING && !lives) return { ...guest, ...NOTHING, state: LEFT };
  const cameBack = (guest.state === LEFT || guest.state === MOVED) && lives;
  return cameBack ? { ...guest, ...NOTHING, state: WAITING, attempts: 0, notBeforeUnixUs: 0n } : guest;
}

function newGuest(guestId: string): DrainedGuest {
  return {
    guestId,
    state: WAITING,
    migrationId: "",
    destinationHostId: "",
    ...NOTHING,
    attempts: 0,
    notBeforeUnixUs: 0n,
    starts: 0,
  };
}

/** What has become of a guest's migration; null: nobody knows of it any more. */
export function withMigrationHeard(
  drain: Drain,
  guestId: string,
  migration: Migration | null,
  nowUnixUs: bigint,
): Drain {
  return withGuest(drain, guestId, (guest) => {
    if (guest.state !== MIGRATING) return guest;
    if (migration === null) {
      const reason = `Nobody knows of ${guest.migrationId} any more.`;
      return afterFailure(guest, { reasonCode: "MIGRATION_UNKNOWN", reason }, drain, nowUnixUs);
    }
    const { outcome, phase, reasonCode, reason } = migration;
    if (!isTerminal(phase)) return { ...guest, reasonCode, reason };
    if (phase === Phase.COMPLETED) return { ...guest, ...NOTHING, state: MOVED };
    // There is nothing to try again, and it is not to be taken for one that its owner ended.
    if (outcome === Outcome.GUEST_LOST) {
      return { ...guest, reasonCode, reason, state: FAILED, attempts: guest.attempts + 1 };
    }
    return afterFailure(guest, { reasonCode, reason }, drain, nowUnixUs);
  });
}

/** Nobody can say what has become of it, or whether it was made: it is asked for on, but keeps no drain open for ever. */
export function withMigrationUnheard(
  drain: Drain,
  guestId: string,
  { reason: reasonCode, message: reason }: Pick<SwitchoverError, "reason" | "message">,
  nowUnixUs: bigint,
): Drain {
  const isOver = drain.phase === DrainPhase.CANCELLING || isGivenUp(drain, nowUnixUs);
  return withGuest(drain, guestId, (guest) => ({
    ...guest,
    reasonCode,
    reason,
    state: isOver ? FAILED : guest.state,
  }));
}

function afterFailure(
  guest: DrainedGuest,
  hindrance: Hindrance,
  { spec }: Drain,
  nowUnixUs: bigint,
): DrainedGuest {
  const attempts = guest.attempts + 1;
  if (attempts >= limitsOf(spec).attempts) return { ...guest, ...hindrance, state: FAILED, attempts };
  const restUs = AFTER_FAILURE_US << BigInt(attempts - 1);
  return { ...guest, ...hindrance, state: WAITING, attempts, notBeforeUnixUs: nowUnixUs + restUs };
}

/**
 * Guests that may go now, as many as there is room for, those first that were tried longest ago: so one that is refused
 * each time keeps back nobody. The destinations that have an instance of each, the one with the fewest of the drain's
 * guests on their way first.
 */
export function guestsToTry(
  drain: Drain,
  preparedAt: ReadonlyMap<string, ReadonlySet<string>>,
  nowUnixUs: bigint,
): readonly { readonly guestId: string; readonly destinationHostIds: readonly string[] }[] {
  const room = roomIn(drain);
  if (drain.phase !== DrainPhase.DRAINING || room <= 0) return [];
  const coming = new Map<string, number>();
  const come = (hostId: string) => coming.set(hostId, (coming.get(hostId) ?? 0) + 1);
  for (const { state, destinationHostId } of drain.guests) if (state === MIGRATING) come(destinationHostId);
  return drain.guests
    .filter(({ state, notBeforeUnixUs }) => state === WAITING && notBeforeUnixUs <= nowUnixUs)
    .sort(byLastTrial)
    .map(({ guestId }) => ({ guestId, prepared: destinationsOf(drain, guestId, preparedAt) }))
    .filter(({ prepared }) => prepared.length > 0)
    .slice(0, room)
    .map(({ guestId, prepared }) => {
      const byLoad = (left: string, right: string) => (coming.get(left) ?? 0) - (coming.get(right) ?? 0);
      const destinationHostIds = [...prepared].sort(byLoad);
      come(destinationHostIds[0] ?? "");
      return { guestId, destinationHostIds };
    });
}

function byLastTrial(left: DrainedGuest, right: DrainedGuest): number {
  if (left.notBeforeUnixUs === right.notBeforeUnixUs) return 0;
  return left.notBeforeUnixUs < right.notBeforeUnixUs ? -1 : 1;
}

/** Those with an instance of the guest, as the caller ordered them. */
function destinationsOf(
  { spec }: Drain,
  guestId: string,
  preparedAt: ReadonlyMap<string, ReadonlySet<string>>,
): readonly string[] {
  return (spec?.destinationHostIds ?? []).filter((hostId) => preparedAt.get(hostId)?.has(guestId) === true);
}

/** Where a guest may go by that host's own word, or what keeps it from going. */
export type Trial =
  | { readonly guestId: string; readonly destinationHostId: string }
  | { readonly guestId: string; readonly hindrance: Hindrance };

/** Those that may go are on their way from now on, as soon as this is stored; the others are told why they wait. */
export function withTrials(
  drain: Drain,
  trials: readonly Trial[],
  preparedAt: ReadonlyMap<string, ReadonlySet<string>>,
  nowUnixUs: bigint,
): Drain {
  if (drain.phase !== DrainPhase.DRAINING) return drain;
  const tried = new Map(trials.map((trial) => [trial.guestId, trial]));
  const guests = drain.guests.map((guest): DrainedGuest => {
    if (guest.state !== WAITING || guest.notBeforeUnixUs > nowUnixUs) return guest;
    const trial = tried.get(guest.guestId);
    if (trial === undefined) {
      const isPrepared = destinationsOf(drain, guest.guestId, preparedAt).length > 0;
      return { ...guest, ...(isPrepared ? ITS_TURN : NOT_PREPARED) };
    }
    if ("hindrance" in trial) {
      return { ...guest, ...trial.hindrance, notBeforeUnixUs: nowUnixUs + TRY_AGAIN_US };
    }
    const { destinationHostId } = trial;
    const starts = guest.starts + 1;
    return { ...guest, ...NOTHING, state: MIGRATING, migrationId: "", destinationHostId, starts };
  });
  return { ...drain, guests };
}

/** The request id of the guest's present migration: no two starts of a drain share one for a guest. */
export function requestIdOf({ drainId }: Drain, { starts }: DrainedGuest): string {
  return `drain-${drainId.slice(drainId.lastIndexOf("-") + 1)}-${starts}`;
}

/** Guests on their way whose migration is not known yet. */
export function guestsToAskFor({ guests }: Drain): readonly DrainedGuest[] {
  return guests.filter(({ state, migrationId }) => state === MIGRATING && migrationId === "");
}

export function guestsOnTheirWay({ guests }: Drain): readonly DrainedGuest[] {
  return guests.filter(({ state, migrationId }) => state === MIGRATING && migrationId !== "");
}

export function withMigrationId(drain: Drain, guestId: string, migrationId: string): Drain {
  return withGuest(drain, guestId, (guest) => ({ ...guest, migrationId }));
}

/** The migration was never made. Refusals of the moment cost no attempt; those that stay are not repeated for ever. */
export function withStartRefused(
  drain: Drain,
  guestId: string,
  error: Pick<SwitchoverError, "code" | "reason" | "message" | "metadata">,
  nowUnixUs: bigint,
): Drain {
  const hindrance = { reasonCode: error.reason, reason: error.message };
  const isMomentary = error.code === "RESOURCE_EXHAUSTED" || error.code === "FAILED_PRECONDITION";
  const retryAfterUs = BigInt(error.metadata.retry_after_ms ?? 0) * 1_000n;
  const restUs = retryAfterUs > TRY_AGAIN_US ? retryAfterUs : TRY_AGAIN_US;
  return withGuest(drain, guestId, (guest) =>
    isMomentary || error.reason === "HOST_UNKNOWN"
      ? { ...guest, ...hindrance, state: WAITING, notBeforeUnixUs: nowUnixUs + restUs }
      : afterFailure(guest, hindrance, drain, nowUnixUs),
  );
}

/** A cancelled drain asked for no such migration. */
export function withStartForgotten(drain: Drain, guestId: string): Drain {
  return withGuest(drain, guestId, (guest) => ({ ...guest, ...NOTHING, state: WAITING }));
}

/** `surveyed`: "all" once the host itself has said just now who lives there, and nobody else is on the way. */
export function withEnd(drain: Drain, surveyed: "all" | "not all", nowUnixUs: bigint): Drain {
  const isOver = isGivenUp(drain, nowUnixUs);
  const guests = isOver ? drain.guests.map(givenUp) : drain.guests;
  const given = { ...drain, guests };
  const has = (state: DrainedGuestState) => guests.some((guest) => guest.state === state);
  if (has(MIGRATING)) return given;
  if (drain.phase === DrainPhase.CANCELLING) return ended(given, DrainPhase.CANCELLED, nowUnixUs);
  if (!isOver && (surveyed === "not all" || has(WAITING))) return given;
  const isEmpty = surveyed === "all" && !has(FAILED);
  return ended(given, isEmpty ? DrainPhase.DRAINED : DrainPhase.INCOMPLETE, nowUnixUs);
}

function givenUp(guest: DrainedGuest): DrainedGuest {
  return guest.state === WAITING ? { ...guest, state: FAILED } : guest;
}

function isGivenUp({ phase, requestedAtUnixUs, spec }: Drain, nowUnixUs: bigint): boolean {
  const afterUs = BigInt(limitsOf(spec).giveUpAfterMs) * 1_000n;
  return phase === DrainPhase.DRAINING && nowUnixUs >= requestedAtUnixUs + afterUs;
}

function ended(drain: Drain, phase: DrainPhase, nowUnixUs: bigint): Drain {
  return { ...drain, phase, endedAtUnixUs: nowUnixUs };
}

function roomIn({ spec, guests }: Drain): number {
  return limitsOf(spec).maxParallel - guests.filter(({ state }) => state === MIGRATING).length;
}

function limitsOf(spec: DrainSpec | undefined): typeof DRAIN_DEFAULTS {
  const given = (value: number | undefined, fallback: number) =>
    value === undefined || value === 0 ? fallback : value;
  return {
    maxParallel: given(spec?.maxParallel, DRAIN_DEFAULTS.maxParallel),
    attempts: given(spec?.attempts, DRAIN_DEFAULTS.attempts),
    giveUpAfterMs: given(spec?.giveUpAfterMs, DRAIN_DEFAULTS.giveUpAfterMs),
  };
}

function withGuest(drain: Drain, guestId: string, change: (guest: DrainedGuest) => DrainedGuest): Drain {
  const guests = drain.guests.map((guest) => (guest.guestId === guestId ? change(guest) : guest));
  return { ...drain, guests };
}
