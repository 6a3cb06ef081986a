import type { Drift, Guest } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { alarm, type Step, step, told } from "./step.ts";

export type DriftEvent = Extract<
  GuestEvent,
  { readonly kind: "registrationDrifted" | "nicsMended" | "nicsMendingFailed" }
>;

const FIRST_DELAY_MS = 10;
const SLOW_PACE_MS = 1_000;
const QUIET_MS = 10_000;
/** A bridge that is created again is away for less. */
const ALARM_AFTER_MS = 900;

const NOTHING_LEFT = { failingSinceUnixUs: null, leftSentence: null, alarm: "none" } as const;

/** Mends what drifted as the gate last made it: its own failed changes are its own to try again. */
export function evolveDrift(guest: Guest, event: DriftEvent): Step {
  const { drift } = guest;
  switch (event.kind) {
    case "registrationDrifted":
      if (guest.registrationFailures > 0) return step(guest);
      if (drift?.state === "waiting") return tryEarlier(guest, drift, event);
      return begin(guest, event);
    case "nicsMended":
      if (drift?.state !== "waiting") return step(guest);
      return step({ ...guest, drift: mendedAt(drift, event.atUnixUs) }, [
        told({ $case: "registrationMended", value: { mendedAtUnixUs: BigInt(event.atUnixUs) } }),
      ]);
    case "nicsMendingFailed":
      return drift?.state === "waiting" ? goOn(guest, drift, event) : step(guest);
  }
}

/** A timer for the next attempt has fired. */
export function mendAgain(guest: Guest, atUnixUs: number): Step {
  if (guest.drift === null) return step(guest);
  const drift = { ...guest.drift, timers: Math.max(guest.drift.timers - 1, 0) };
  return drift.state === "waiting" && guest.registrationFailures === 0
    ? attempt(guest, drift, atUnixUs)
    : step({ ...guest, drift });
}

function mendedAt(drift: Drift, atUnixUs: number): Drift {
  return { ...drift, state: "mended", attemptedAtUnixUs: atUnixUs, ...NOTHING_LEFT };
}

function begin(guest: Guest, event: DriftEvent & { kind: "registrationDrifted" }): Step {
  const { atUnixUs, reason, sentence } = event;
  const last = guest.drift;
  const isRecent = last !== null && atUnixUs - last.attemptedAtUnixUs < QUIET_MS * 1_000;
  const drift: Drift = {
    state: "waiting",
    attempts: isRecent ? last.attempts : 0,
    attemptedAtUnixUs: last?.attemptedAtUnixUs ?? 0,
    ...NOTHING_LEFT,
    timers: last?.timers ?? 0,
  };
  const paceMs = paceOf(drift);
  const waitMs = Math.min(paceMs - (atUnixUs - drift.attemptedAtUnixUs) / 1_000, paceMs);
  const next = waitMs > 0 ? attemptLater(guest, drift, Math.ceil(waitMs)) : attempt(guest, drift, atUnixUs);
  return step(next.guest, [
    told({
      $case: "registrationDrifted",
      value: { reason, sentence, noticedAtUnixUs: BigInt(atUnixUs) },
    }),
    ...next.operations,
  ]);
}

function attempt(guest: Guest, drift: Drift, atUnixUs: number): Step {
  return step({ ...guest, drift: { ...drift, attempts: drift.attempts + 1, attemptedAtUnixUs: atUnixUs } }, [
    { kind: "mendNics", registered: guest.registration },
  ]);
}

function attemptLater(guest: Guest, drift: Drift, delayMs: number): Step {
  return step({ ...guest, drift: { ...drift, timers: drift.timers + 1 } }, [
    { kind: "setTimer", timer: "mendRegistration", delayMs },
  ]);
}

/**
 * Something changed while nothing helped: what was missing may be back. What an attempt changes is told as well, and would
 * have the next one made at once and for ever: so what differs must not be what that attempt left.
 */
function tryEarlier(
  guest: Guest,
  drift: Drift,
  { atUnixUs, sentence }: DriftEvent & { kind: "registrationDrifted" },
): Step {
  if (drift.failingSinceUnixUs === null || drift.leftSentence === sentence) return step(guest);
  if (atUnixUs - drift.attemptedAtUnixUs >= FIRST_DELAY_MS * 1_000) return attempt(guest, drift, atUnixUs);
  return drift.timers < 2 ? attemptLater(guest, drift, FIRST_DELAY_MS) : step(guest);
}

function goOn(guest: Guest, before: Drift, event: DriftEvent & { kind: "nicsMendingFailed" }): Step {
  const failingSinceUnixUs = before.failingSinceUnixUs ?? event.atUnixUs;
  const isLasting = event.atUnixUs - failingSinceUnixUs >= ALARM_AFTER_MS * 1_000;
  const alarmNow = isLasting ? "raised" : before.alarm;
  const drift: Drift = { ...before, failingSinceUnixUs, leftSentence: event.sentence, alarm: alarmNow };
  const next =
    drift.timers > 0
      ? step({ ...guest, drift })
      : attemptLater(guest, drift, event.cause === "missing" ? SLOW_PACE_MS : paceOf(drift));
  return step(next.guest, [
    ...(isLasting && before.alarm === "none" ? [alarm("REGISTRATION_NOT_MENDED", event.sentence)] : []),
    ...next.operations,
  ]);
}

/** How long after the last attempt the next one may be. */
function paceOf({ attempts }: Drift): number {
  return attempts === 0 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** Math.min(attempts - 1, 7), SLOW_PACE_MS);
}
