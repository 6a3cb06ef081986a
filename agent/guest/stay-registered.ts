import { type Guest, NO_STAY } from "./guest.ts";
import type { GuestOperation } from "./guest-operation.ts";
import { type Step, step } from "./step.ts";

/**
 * R2 takes a guest's registrations away whenever its CPUs stop. An agent may be told to let guests stay registered for
 * some pauses; never for a switchover's, nor for a guest that its VMM has shut down.
 *
 *   STOP that no transfer can have caused -> asked:  the reason is read, for 100 ms at most
 *   reason is one of those                -> stays
 *   any other, or none in time            -> none:   deregistered
 *   ordered to stop, or handed off        -> none:   deregistered
 */
export const PAUSES = [
  "debug",
  "guest-panicked",
  "internal-error",
  "io-error",
  "paused",
  "save-vm",
  "suspended",
  "watchdog",
] as const;

/** A VMM answers in 0.2 ms; one that is too busy to say why it stopped its guest is not waited for. */
const EXPLAIN_WITHIN_MS = 100;

/** What a stop means to the registrations: deregistered at once, unless it may be one to stay registered for. */
export function deregisterAtStop(stopped: Guest, atUnixUs: number): Step {
  return mayStay(stopped)
    ? step({ ...stopped, stay: { kind: "asked", sinceUnixUs: atUnixUs } }, [
        { kind: "setTimer", timer: "stopUnexplained", delayMs: EXPLAIN_WITHIN_MS },
      ])
    : step({ ...stopped, stay: NO_STAY }, [{ kind: "deregisterNics" }]);
}

/** The reason of a stop is known. */
export function judgeStay(guest: Guest): Step {
  if (guest.stay.kind === "none" || guest.cpus.kind === "running") return step(guest);
  return guest.staysRegisteredFor.includes(guest.cpus.runState)
    ? step({ ...guest, stay: { kind: "stays" } })
    : endStay(guest);
}

/** The reason was waited for; an older stop's timer is none of this one's. */
export function endQuestion(guest: Guest, atUnixUs: number): Step {
  const { stay } = guest;
  const isOver = stay.kind === "asked" && atUnixUs - stay.sinceUnixUs >= EXPLAIN_WITHIN_MS * 1_000;
  return isOver ? endStay(guest) : step(guest);
}

/** Deregistered where it stayed registered so far; nothing otherwise. */
export function endStay(guest: Guest): Step {
  if (guest.stay.kind === "none") return step(guest);
  const deregister: GuestOperation = { kind: "deregisterNics" };
  return step({ ...guest, stay: NO_STAY }, [deregister]);
}

/** A transfer that may have begun may be what stopped the CPUs, and then every microsecond counts. */
function mayStay({ registration, role, staysRegisteredFor, vmm }: Guest): boolean {
  if (staysRegisteredFor.length === 0 || registration !== "registered" || vmm === "lost") return false;
  return role.kind === "resident" || (role.kind === "outgoing" && role.transfer === "notBegun");
}
