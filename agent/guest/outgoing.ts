import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import { isSwitchoverRunState } from "../../proto/switchover-run-state.ts";
import { type Guest, type MigrationTie, type Outgoing, RESIDENT, type SwitchoverStop } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import type { GuestOperation } from "./guest-operation.ts";
import { askToKeep, judgeKeep, keepGuest } from "./keep.ts";
import { namedInWord } from "./nic-changes.ts";
import { retryDelayMs } from "./registration-retry.ts";
import { evolveResident } from "./resident.ts";
import { endStay } from "./stay-registered.ts";
import { after, alarm, insisting, type Step, step, told } from "./step.ts";

const CONFIRMATIONS_NEEDED = 2;

/**
 * Holds the right to run until its VMM can no longer fail back; then gives it away, once, in this order: CPUs
 * stopped, all NICs deregistered, word journaled, word published. A transfer that ends otherwise, or is given up in
 * time, leaves the guest here (keep.ts), which is journaled too: for one epoch a journal holds one of the two.
 */
export function evolveOutgoing(guest: Guest, role: Outgoing, event: GuestEvent): Step {
  switch (event.kind) {
    case "cpusStopped": {
      const stop: SwitchoverStop = {
        stoppedAtUnixUs: event.stoppedAtUnixUs,
        receivedAtUnixUs: event.atUnixUs,
        cause: "unread",
        deregisteredAtUnixUs: null,
      };
      const stopped: Outgoing = { ...role, stop, confirmations: 0 };
      return step(withRole(guest, stopped), [
        { kind: "readRunState", purpose: "stopCause" },
        ...confirmationReads(guest, stopped),
      ]);
    }
    case "nicsDeregistered":
      if (role.stop === null) return giveWordIfDue(guest, role, event);
      if (role.stop.deregisteredAtUnixUs !== null) return step(guest);
      return giveWordIfDue(
        guest,
        { ...role, stop: { ...role.stop, deregisteredAtUnixUs: event.atUnixUs } },
        event,
      );
    case "runStateRead":
      return event.purpose === "lateWord" ? giveLateWord(guest, role, event) : judgeStop(guest, role, event);
    case "transferStatusChanged":
      return judgeStatus(guest, role, event);
    case "transferStatusRead": {
      if (event.purpose === "keep") return judgeKeep(guest, role, event);
      if (role.pointOfNoReturn !== "postcopyActiveTwice" || role.stop === null) return step(guest);
      const confirmations = event.status === "postcopy-active" ? role.confirmations + 1 : 0;
      const canFailBack = role.canFailBack && confirmations < CONFIRMATIONS_NEEDED;
      return giveWordIfDue(guest, { ...role, confirmations, canFailBack }, event);
    }
    case "cpusResumed":
      return resume(guest, role);
    case "vmmLost":
      return loseVmm(guest, role, event);
    case "transferOrdered":
      if (role.keep === "decided") return keepGuest(guest, role);
      return after(
        [{ kind: "journal", word: { kind: "transferBegun", fence: event.fence } }],
        forgetQuestion({ ...guest, fence: event.fence, role: { ...role, transfer: "begun" } }),
      );
    case "transferRefused":
      // One that was begun tells of itself before any later one is refused.
      if (guest.migration?.transferStatus !== "none") return step(guest);
      return step({ ...guest, role: { ...role, transfer: "notBegun" } }, [
        { kind: "journal", word: { kind: "transferRefused", fence: guest.fence } },
      ]);
    case "postCopyOrdered":
      if (role.keep === "decided") return keepGuest(guest, role);
      if (role.keep !== "notAsked") return step(guest);
      return step({ ...guest, fence: event.fence, role: { ...role, postCopy: "asked" } }, [
        { kind: "journal", word: { kind: "postCopyAsked", fence: event.fence } },
      ]);
    case "keepOrdered":
      return askToKeep({ ...guest, fence: event.fence }, role, event.atUnixUs);
    case "timerFired":
      if (event.timer === "wordAgain") {
        return role.keep === "decided" ? keepGuest(guest, role) : askBeforeLateWord(guest, role, event);
      }
      return event.timer === "readKeepAgain" && role.keep !== "notAsked"
        ? step(guest, [{ kind: "readTransferStatus", purpose: "keep" }])
        : step(guest);
    case "nicsRegistrationRefused":
      return step(guest, [{ kind: "setTimer", timer: "retryRegistration", delayMs: retryDelayMs(guest) }]);
    case "contRefused":
      // Of a start that was ordered before it was armed. CPUs that run all the same keep their registrations.
      return step(guest, [
        ...(guest.cpus.kind === "running" ? [] : [{ kind: "deregisterNics" } as const]),
        alarm("CONT_REFUSED", event.sentence),
      ]);
    case "stopOrdered":
      return guest.cpus.kind === "stopped" ? step(guest) : step(guest, [{ kind: "sendStop" }]);
    case "startOrdered": {
      // Only the journal is yet to take that the guest stays: it is to take it first.
      const kept = keepGuest(guest, role);
      const started = evolveResident(kept.guest, RESIDENT, event);
      return after(kept.operations, started);
    }
    case "sourceArmed":
      return evolveResident(guest, RESIDENT, event);
    default:
      return step(guest);
  }
}

/**
 * Registered at once: the right to run is here. Where the transfer was complete already somebody else has started the
 * guest again, and what the destination has of it is an older state: it stays here.
 */
function resume(guest: Guest, role: Outgoing): Step {
  const resumed: Outgoing = { ...role, stop: null, runStateBefore: "running", confirmations: 0 };
  const operations: readonly GuestOperation[] = [
    ...(guest.registration === "registered" ? [] : [{ kind: "registerNics" } as const]),
    ...noteRunState(guest, role, "running"),
    { kind: "announce" },
  ];
  return role.canFailBack && role.keep !== "decided"
    ? step(withRole(guest, resumed), operations)
    : keepGuest(guest, resumed, operations);
}

/** Joins STOP with its reason: an owner's pause is no switchover, and the guest then migrates as not running. */
function judgeStop(guest: Guest, role: Outgoing, event: GuestEvent & { kind: "runStateRead" }): Step {
  if (event.purpose !== "stopCause" || role.stop === null || role.stop.cause !== "unread") return step(guest);
  if (event.runState === "running") return step(guest);
  if (isSwitchoverRunState(event.runState)) {
    return giveWordIfDue(guest, { ...role, stop: { ...role.stop, cause: "switchover" } }, event);
  }
  const paused: Outgoing = { ...role, stop: null, runStateBefore: event.runState };
  return after(noteRunState(guest, role, event.runState), giveWordIfDue(guest, paused, event));
}

/** What its owner makes of the guest while it migrates goes into the word, also after a restart of this agent. */
function noteRunState({ fence }: Guest, role: Outgoing, runState: string): readonly GuestOperation[] {
  return role.runStateBefore === runState
    ? []
    : [{ kind: "journalWhenPossible", word: { kind: "runStateNoted", fence, runState } }];
}

/**
 * A dead VMM cannot resume: one that had stopped its guest for a live switchover may have sent all of it, and a
 * destination that has it may start it. In every other case what ran here is gone, and the word is never given.
 */
function loseVmm(guest: Guest, role: Outgoing, event: GuestEvent & { kind: "vmmLost" }): Step {
  if (guest.migration?.mode !== "live" || role.stop === null || role.keep === "decided") {
    return keepGuest(guest, role);
  }
  return giveWordIfDue(
    guest,
    { ...role, canFailBack: false, stop: { ...role.stop, cause: "switchover" } },
    event,
  );
}

function judgeStatus(
  guest: Guest,
  role: Outgoing,
  event: GuestEvent & { kind: "transferStatusChanged" },
): Step {
  switch (event.status) {
    case "completed":
      // Somebody else started the guest after the switchover had stopped it: the destination has an older state.
      return guest.cpus.kind === "running"
        ? keepGuest(guest, role)
        : giveWordIfDue(guest, { ...role, canFailBack: false }, event);
    case "postcopy-active":
      if (role.pointOfNoReturn === "postcopyActiveAfterStop" && role.stop !== null) {
        return giveWordIfDue(guest, { ...role, canFailBack: false }, event);
      }
      return step(guest, confirmationReads(guest, role));
    case "postcopy-paused":
      // Only a post-copy that was past its switch can be paused; of a guest that stood, no STOP has come.
      return giveWordIfDue(guest, { ...role, canFailBack: false }, event);
    case "failed":
      // QEMU resumes the guest by itself within microseconds of this event: register before it does where we can.
      return role.stop !== null && guest.registration === "quarantined" && role.runStateBefore === "running"
        ? keepGuest(
            guest,
            role,
            [],
            [{ kind: "registerNics" }, { kind: "readRunState", purpose: "rollback" }],
          )
        : keepGuest(guest, role);
    case "cancelled":
      return keepGuest(guest, role);
    default:
      return step(guest);
  }
}

/** Both questions are sent at once, in order, after STOP was heard. */
function confirmationReads(guest: Guest, role: Outgoing): readonly GuestOperation[] {
  if (role.pointOfNoReturn !== "postcopyActiveTwice" || role.stop === null || !role.canFailBack) return [];
  if (guest.migration?.transferStatus !== "postcopy-active") return [];
  return Array.from(
    { length: CONFIRMATIONS_NEEDED },
    () => ({ kind: "readTransferStatus", purpose: "pointOfNoReturn" }) as const,
  );
}

function giveWordIfDue(guest: Guest, role: Outgoing, event: GuestEvent): Step {
  const { migration } = guest;
  // No STOP deregistered a guest that stood and stayed registered: that is the first thing now.
  if (
    !role.canFailBack &&
    role.keep !== "decided" &&
    guest.cpus.kind === "stopped" &&
    guest.stay.kind !== "none"
  ) {
    return endStay(withRole(guest, role));
  }
  if (migration === null || !wordIsDue(guest, role)) return step(withRole(guest, role));
  const handOff = wordOf(guest, migration, role, event.atUnixUs);
  const given = step({ ...guest, role: { kind: "relinquished", handOff, released: "kept" } }, [
    { kind: "journal", word: { kind: "handedOff", handOff } },
    { kind: "publishHandOff", handOff },
    told({ $case: "handedOff", value: { handOff } }),
  ]);
  return insisting(given, withRole(guest, role));
}

/**
 * The journal did not take the word when it was due, and meanwhile somebody may have started the guest, which this agent,
 * were it stopped itself, has not heard: the answer comes after all that its VMM has told so far.
 */
function askBeforeLateWord(guest: Guest, role: Outgoing, event: GuestEvent): Step {
  if (guest.vmm === "lost" || !wordIsDue(guest, role)) return giveWordIfDue(guest, role, event);
  return step(guest, [{ kind: "readRunState", purpose: "lateWord" }]);
}

function giveLateWord(guest: Guest, role: Outgoing, event: GuestEvent & { kind: "runStateRead" }): Step {
  if (role.keep === "decided") return keepGuest(guest, role);
  return event.runState === "running" ? step(guest) : giveWordIfDue(guest, role, event);
}

function wordIsDue(guest: Guest, role: Outgoing): boolean {
  if (role.canFailBack || role.keep === "decided") return false;
  if (guest.cpus.kind === "running" || guest.registration !== "quarantined") return false;
  return role.stop === null || (role.stop.cause === "switchover" && role.stop.deregisteredAtUnixUs !== null);
}

function wordOf(guest: Guest, migration: MigrationTie, role: Outgoing, atUnixUs: number): HandOff {
  return {
    migrationId: migration.migrationId,
    guestId: guest.guestId,
    sourceHostId: guest.hostId,
    sourceInstanceId: guest.instanceId,
    destinationHostId: role.destinationHostId,
    fence: guest.fence,
    runState: role.runStateBefore,
    stoppedAtUnixUs: BigInt(role.stop?.receivedAtUnixUs ?? 0),
    deregisteredAtUnixUs: BigInt(role.stop?.deregisteredAtUnixUs ?? 0),
    journaledAtUnixUs: BigInt(atUnixUs),
    nics: { nics: namedInWord(guest).map(({ nicId, macAddress }) => ({ nicId, macAddress })) },
  };
}

/** A stop whose reason is still being read may be the transfer's from now on. */
function forgetQuestion(guest: Guest): Step {
  return guest.stay.kind === "asked" ? endStay(guest) : step(guest);
}

function withRole(guest: Guest, role: Outgoing): Guest {
  return { ...guest, role };
}
