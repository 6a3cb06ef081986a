import { evolveDrift, mendAgain } from "./drift.ts";
import { evolveFenced } from "./fenced.ts";
import type { Guest, MigrationTie } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { evolveIncoming } from "./incoming.ts";
import { attachNic, detachNic, startWaitingNics } from "./nic-changes.ts";
import { evolveOutgoing } from "./outgoing.ts";
import { retriesOf, retryDelayMs } from "./registration-retry.ts";
import { evolveRelinquished } from "./relinquished.ts";
import { evolveResident } from "./resident.ts";
import { after, alarm, cpusStarted, cpusStopped, raiseFence, type Step, step, told } from "./step.ts";
import { evolveVacant } from "./vacant.ts";

/**
 * The rule. Whatever a VMM, a coordinator or another host may say, and in whatever order:
 *
 *   CPUs stop, for any reason       -> deregister all NICs, at once, here, asking nobody      (evolve, R2)
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
export function evolve(guest: Guest, event: GuestEvent): Step {
  const noted = note(untie(guest, event), event);
  const next = startWaitingNics(evolveRole(noted.guest, event));
  return after(noted.operations, next);
}

function evolveRole(guest: Guest, event: GuestEvent): Step {
  switch (guest.role.kind) {
    case "resident":
      return evolveResident(guest, guest.role, event);
    case "outgoing":
      return evolveOutgoing(guest, guest.role, event);
    case "relinquished":
      return evolveRelinquished(guest, guest.role, event);
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
  if (role.kind !== "resident") return guest;
  // A source that was kept before its transfer began has heard nothing of one.
  const ended = ["failed", "cancelled", ...(migration?.side === "source" ? ["none"] : [])];
  const stayed = cpus.kind === "running" && ended.includes(migration?.transferStatus ?? "none");
  // Kept, or taken back, as its owner had stopped it: who starts it again is the owner.
  const isOwners =
    event.kind === "startOrdered" && migration?.side === "source" && role.stoppedBy === "owner";
  const over = migration?.transferStatus === "completed" || stayed || isOwners;
  return over && (event.kind === "cpusStopped" || event.kind === "startOrdered")
    ? { ...guest, migration: null }
    : guest;
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
      return step({ ...guest, cpus: { kind: "stopped", runState: "unread" } }, [
        { kind: "deregisterNics" },
        told(cpusStopped(event)),
      ]);
    case "cpusResumed":
      return step({ ...guest, cpus: { kind: "running" } }, [told(cpusStarted(guest, event))]);
    case "runStateRead":
      return step(
        // An answer from before a stop says nothing of it.
        guest.cpus.kind === "stopped" && event.runState !== "running"
          ? { ...guest, cpus: { kind: "stopped", runState: event.runState } }
          : guest,
      );
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
        told({ $case: "nicsRegistered", value: { registeredAtUnixUs: BigInt(event.atUnixUs) } }),
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
      return event.timer === "mendRegistration"
        ? mendAgain(guest, event.atUnixUs)
        : step(guest, retriesOf(guest, event.timer));
    case "vmmLost":
      return step({ ...guest, vmm: "lost", cpus: { kind: "stopped", runState: "gone" } }, [
        ...(guest.registration === "registered" ? [{ kind: "deregisterNics" } as const] : []),
        told({ $case: "vmmLost", value: { sentence: event.sentence } }),
      ]);
    default:
      return step(guest);
  }
}
