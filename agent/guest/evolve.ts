import { evolveDrift, mendAgain } from "./drift.ts";
import { explainAnew, explainStop, isBeingSaved, tellReport } from "./explain-stop.ts";
import { evolveFenced } from "./fenced.ts";
import { evolveForgotten } from "./forgotten.ts";
import { type Guest, type MigrationTie, NO_STAY } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import type { GuestFeedEvent } from "./guest-operation.ts";
import { evolveIncoming } from "./incoming.ts";
import { attachNic, detachNic, startWaitingNics } from "./nic-changes.ts";
import { evolveOutgoing } from "./outgoing.ts";
import { retriesOf, retryDelayMs } from "./registration-retry.ts";
import { evolveRelinquished } from "./relinquished.ts";
import { evolveResident } from "./resident.ts";
import { deregisterAtStop, endQuestion, endStay } from "./stay-registered.ts";
import {
  after,
  alarm,
  cpusStarted,
  cpusStopped,
  deregistration,
  raiseFence,
  type Step,
  step,
  told,
} from "./step.ts";
import { evolveVacant } from "./vacant.ts";

/**
 * The rule. Whatever a VMM, a coordinator or another host may say, and in whatever order:
 *
 *   CPUs stop, for any reason       -> deregister all NICs, at once, here, asking nobody      (evolve, R2)
 *   ... a pause to stay through     -> read the reason first, if no transfer can be it        (stay-registered)
 *   source can no longer fail back  -> journal, then publish: this side gave the right away   (outgoing)
 *   guest loaded AND the word here  -> register all NICs and read back, journal, `cont`       (incoming, R1)
 *   guest cannot be started         -> journal "never", then publish: the right goes back     (incoming, fenced)
 *   transfer ended without a switch -> journal "kept": the word is never given                (outgoing)
 *   CPUs run without the right      -> stop them, raise an alarm                  (relinquished, incoming, fenced)
 *   others undo what is registered  -> register again, at once, then damped                   (drift)
 *   CPUs resume with the right      -> register at once                                       (resident, outgoing, R8)
 *   order to start                  -> register and read back, then `cont`                    (resident)
 *
 * Pure: (guest, event) -> (guest, operations). This is the only place where a CPU event becomes a device operation.
 */
export function evolve(guest: Guest, heard: GuestEvent): Step {
  const event = wakingOf(guest, heard) ?? heard;
  const noted = note(untie(guest, event), event);
  const next = startWaitingNics(evolveRole(noted.guest, event));
  return after(noted.operations, next);
}

/** A guest that was woken, and runs by its VMM's own word: no RESUME says so. */
function wakingOf({ cpus }: Guest, event: GuestEvent): GuestEvent | null {
  if (event.kind !== "runStateRead" || event.purpose !== "wakeup") return null;
  if (cpus.kind === "running" || event.runState !== "running") return null;
  const { atUnixUs } = event;
  return { kind: "cpusResumed", atUnixUs, resumedAtUnixUs: atUnixUs, by: "wakeup" };
}

function evolveRole(guest: Guest, event: GuestEvent): Step {
  switch (guest.role.kind) {
    case "resident":
      return evolveResident(guest, guest.role, event);
    case "outgoing":
      return evolveOutgoing(guest, guest.role, event);
    case "relinquished":
      return evolveRelinquished(guest, guest.role, event);
    case "forgotten":
      return evolveForgotten(guest, guest.role, event);
    case "vacant":
      return evolveVacant(guest, event);
    case "incoming":
      return evolveIncoming(guest, guest.role, event);
    case "fenced":
      return evolveFenced(guest, guest.role, event);
  }
}

/** What happens to a guest after its migration is no longer told under that migration's name. */
function untie(guest: Guest, event: GuestEvent): Guest {
  const { cpus, migration, role } = guest;
  if (role.kind !== "resident" || (event.kind !== "cpusStopped" && event.kind !== "startOrdered"))
    return guest;
  // A source that was kept before its transfer began has heard nothing of one.
  const ended = ["failed", "cancelled", ...(migration?.side === "source" ? ["none"] : [])];
  const stayed = cpus.kind === "running" && ended.includes(migration?.transferStatus ?? "none");
  // Kept, or taken back, as its owner had stopped it: who starts it again is the owner.
  const isOwners =
    event.kind === "startOrdered" && migration?.side === "source" && role.stoppedBy === "owner";
  const over = migration?.transferStatus === "completed" || stayed || isOwners;
  return over ? { ...guest, migration: null } : guest;
}

/** A destination that listens for the rest of a paused transfer says `setup`, and stays paused. */
function isListening({ transferStatus }: MigrationTie, status: string): boolean {
  return status === "setup" && transferStatus.startsWith("postcopy-");
}

/** What an event means in every role: the facts it states, and R2. */
function note(guest: Guest, event: GuestEvent): Step {
  switch (event.kind) {
    case "commandAdmitted": {
      // A higher epoch counts once what it stands for is journaled.
      return event.fence.epoch === guest.fence.epoch ? raiseFence(guest, event.fence) : step(guest);
    }
    case "cpusStopped":
      return andTell(
        deregisterAtStop({ ...guest, cpus: { kind: "stopped", runState: "unread" } }, event.atUnixUs),
        cpusStopped(event),
      );
    case "cpusResumed":
      return step({ ...guest, cpus: { kind: "running" }, stay: NO_STAY }, [told(cpusStarted(guest, event))]);
    case "runStateRead":
      return explainStop(guest, event);
    case "wakeupHeard":
      return step(guest, guest.cpus.kind === "stopped" ? [{ kind: "readRunState", purpose: "wakeup" }] : []);
    case "vmmReported":
      return tellReport(guest, event);
    case "stopOrdered":
      return endStay(guest);
    case "startOrdered":
      return step({ ...guest, stay: NO_STAY });
    case "transferStatusChanged":
      return step(
        guest.migration === null || isListening(guest.migration, event.status)
          ? guest
          : { ...guest, migration: { ...guest.migration, transferStatus: event.status } },
        [told({ $case: "transferStatusChanged", value: { status: event.status, error: "" } })],
      );
    case "nicAttached":
      return attachNic(guest, event);
    case "nicDetached":
      return detachNic(guest, event);
    case "nicsRegistered":
      return step({ ...guest, registration: "registered", registrationFailures: 0, drift: null }, [
        told({
          $case: "nicsRegistered",
          value: {
            registeredAtUnixUs: BigInt(event.atUnixUs),
            registrationSentAtUnixUs: BigInt(event.sentAtUnixUs),
          },
        }),
      ]);
    case "nicsDeregistered":
      return step({ ...guest, registration: "quarantined", registrationFailures: 0, drift: null }, [
        told({ $case: "nicsDeregistered", value: { deregisteredAtUnixUs: BigInt(event.atUnixUs) } }),
      ]);
    case "nicsRegistrationRefused":
      return step({ ...guest, registrationFailures: guest.registrationFailures + 1 }, [
        alarm("REGISTRATION_REFUSED", event.sentence),
      ]);
    case "nicsDeregistrationRefused":
      return step({ ...guest, registrationFailures: guest.registrationFailures + 1 }, [
        alarm("DEREGISTRATION_REFUSED", event.sentence),
        { kind: "setTimer", timer: "retryDeregistration", delayMs: retryDelayMs(guest) },
      ]);
    case "registrationDrifted":
    case "nicsMended":
    case "nicsMendingFailed":
      return evolveDrift(guest, event);
    case "timerFired":
      return wake(guest, event);
    case "vmmLost":
      return step({ ...guest, vmm: "lost", cpus: { kind: "stopped", runState: "gone" }, stay: NO_STAY }, [
        ...deregistration(guest),
        told({ $case: "vmmLost", value: { sentence: event.sentence } }),
      ]);
    default:
      return step(guest);
  }
}

function andTell({ guest, operations }: Step, event: GuestFeedEvent): Step {
  return step(guest, [...operations, told(event)]);
}

function wake(guest: Guest, event: GuestEvent & { kind: "timerFired" }): Step {
  switch (event.timer) {
    case "mendRegistration":
      return mendAgain(guest, event.atUnixUs);
    case "stopUnexplained":
      return endQuestion(guest, event.atUnixUs);
    case "readStopCauseAgain":
      return isBeingSaved(guest) ? explainAnew(guest) : step(guest);
    default:
      return step(guest, retriesOf(guest, event.timer));
  }
}
