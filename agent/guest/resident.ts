import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import { isSwitchoverRunState } from "../../proto/switchover-run-state.ts";
import { type Guest, newTie, type Resident } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import type { GuestOperation } from "./guest-operation.ts";
import { retryDelayMs } from "./registration-retry.ts";
import { alarm, deregistration, raiseFence, type Step, step, told } from "./step.ts";

/** QEMU is between the failure and its resumption for some 100 us. */
const READ_ROLLBACK_AGAIN_MS = 5;
const START_AGAIN_MS = 500;

const RESUMED_OUTSIDE_GATE = alarm(
  "RESUMED_OUTSIDE_GATE",
  "The CPUs were started by someone else; the NICs were registered after them.",
);

/** Holds the right to run: registrations follow the CPUs, and an order to start registers first. */
export function evolveResident(guest: Guest, role: Resident, event: GuestEvent): Step {
  const as = (next: Partial<Resident>): Guest => ({ ...guest, role: { ...role, ...next } });
  switch (event.kind) {
    case "startOrdered":
      if (guest.cpus.kind === "running" || role.start !== "none") return step(guest);
      return step(as({ start: "registering" }), [{ kind: "registerNics" }]);
    case "nicsRegistered":
      if (role.start !== "registering") return step(guest);
      return step(as({ start: "contSent" }), [{ kind: "sendCont" }]);
    case "nicsRegistrationRefused":
      if (role.start === "registering") {
        return step(as({ start: "none" }), [
          // One that had stayed registered: all or nothing.
          ...deregistration(guest),
          ...startAgainLater(role),
        ]);
      }
      return step(guest, [{ kind: "setTimer", timer: "retryRegistration", delayMs: retryDelayMs(guest) }]);
    case "contSent":
      return step(as({ contSentAtUnixUs: event.atUnixUs }));
    case "contRefused":
      // An answer that was waited for in vain, while the CPUs themselves said that they run.
      if (guest.cpus.kind === "running") return step(guest, [alarm("CONT_REFUSED", event.sentence)]);
      return step(as({ start: "none", contSentAtUnixUs: null }), [
        { kind: "deregisterNics" },
        alarm("CONT_REFUSED", event.sentence),
        ...(event.outcome === "refused" ? startAgainLater(role) : []),
      ]);
    case "stopOrdered":
      // `stop` follows the `cont` that is on its way.
      if (guest.cpus.kind === "running" || role.start === "contSent")
        return step(guest, [{ kind: "sendStop" }]);
      if (role.start === "registering") {
        return step(as({ start: "none", stoppedBy: "owner" }), [
          { kind: "deregisterNics" },
          ...notedPause(guest),
        ]);
      }
      return role.stoppedBy === "owner" ? step(guest) : step(as({ stoppedBy: "owner" }), notedPause(guest));
    case "keepOrdered":
      return step({ ...guest, fence: event.fence }, [
        {
          kind: "journal",
          word: { kind: "kept", fence: event.fence, runState: runStateOf(guest), cpus: guest.cpus.kind },
        },
      ]);
    case "handOffReceived":
      return receiveRestated(guest, event);
    case "resumeOrdered": {
      const raised = raiseFence(guest, event.fence);
      if (!isToBeStarted(guest, role)) return raised;
      const resumed: Guest = { ...raised.guest, role: { ...role, start: "registering" } };
      return step(resumed, [...raised.operations, { kind: "registerNics" }]);
    }
    case "runStateRead":
      return event.purpose === "rollback"
        ? judgeRollback(guest, role, event.runState)
        : judgeStopper(guest, role, event.runState);
    case "timerFired":
      if (event.timer === "startAgain" && isToBeStarted(guest, role)) {
        return step(as({ start: "registering" }), [{ kind: "registerNics" }]);
      }
      return event.timer === "readRollbackAgain" && isRollingBack(guest, role)
        ? step(guest, [{ kind: "readRunState", purpose: "rollback" }])
        : step(guest);
    case "cpusStopped":
      return step(as({ start: "none", contSentAtUnixUs: null, stoppedBy: "owner" }), [
        { kind: "readRunState", purpose: "stopCause" },
      ]);
    case "cpusResumed":
      if (guest.registration === "registered") {
        return step(as({ start: "none", stoppedBy: "owner" }), [
          ...startedWords(guest, role),
          { kind: "announce" },
        ]);
      }
      return step(as({ start: "none", stoppedBy: "owner" }), [
        { kind: "registerNics" },
        ...startedWords(guest, role),
        { kind: "announce" },
        ...(event.by === "wakeup" ? [] : [RESUMED_OUTSIDE_GATE]),
      ]);
    case "sourceArmed":
      return step(
        {
          ...guest,
          fence: event.fence,
          migration: newTie({ migrationId: event.migrationId, mode: event.mode, side: "source", bootId: "" }),
          role: {
            kind: "outgoing",
            destinationHostId: event.destinationHostId,
            pointOfNoReturn: event.pointOfNoReturn,
            runStateBefore: runStateOf(guest),
            stop: null,
            confirmations: 0,
            canFailBack: true,
            transfer: "notBegun",
            postCopy: "notAsked",
            keep: "notAsked",
          },
        },
        [
          {
            kind: "journal",
            word: {
              kind: "armed",
              fence: event.fence,
              migrationId: event.migrationId,
              destinationHostId: event.destinationHostId,
              mode: event.mode,
              pointOfNoReturn: event.pointOfNoReturn,
              runState: runStateOf(guest),
            },
          },
        ],
      );
    default:
      return step(guest);
  }
}

function runStateOf({ cpus }: Guest): string {
  return cpus.kind === "running" ? "running" : cpus.runState;
}

/** After our own `cont` that ends a switchover's stop: a later stop is somebody's, also for an agent that restarts. */
function startedWords(guest: Guest, role: Resident): readonly GuestOperation[] {
  const started = { kind: "journalWhenPossible", word: { kind: "started", fence: guest.fence } } as const;
  // Taken back by an agent that had forgotten its migration.
  if (guest.migration === null) return role.stoppedBy === "switchover" ? [started] : [];
  if (role.start !== "contSent" && role.stoppedBy === "owner") return [];
  return [
    started,
    ...(guest.migration.side === "source"
      ? [told({ $case: "sourceResumed", value: { runState: "running" } })]
      : []),
  ];
}

/** A statement in the dead source's place about a guest that was taken over before: what is older comes too late now. */
function receiveRestated(guest: Guest, { handOff, route }: GuestEvent & { kind: "handOffReceived" }): Step {
  const { migration } = guest;
  const isOurs = migration?.side === "destination" && migration.migrationId === handOff.migrationId;
  if (route !== HandOffRoute.GRPC || !isOurs || handOff.fence === undefined) return step(guest);
  return raiseFence(guest, handOff.fence);
}

/** Its owner has it running; the switchover stopped it, and that is over. */
function isToBeStarted(guest: Guest, role: Resident): boolean {
  return (
    guest.cpus.kind === "stopped" &&
    guest.vmm === "connected" &&
    role.stoppedBy === "switchover" &&
    role.start === "none"
  );
}

/** What refused may not refuse for ever: a lock of the VMM on the other host, which is just ending. */
function startAgainLater(role: Resident): readonly GuestOperation[] {
  return role.stoppedBy === "switchover"
    ? [{ kind: "setTimer", timer: "startAgain", delayMs: START_AGAIN_MS }]
    : [];
}

/** Joins the stop that came with a transfer's end with its reason: an owner's stop ends with the owner's start. */
function judgeStopper(guest: Guest, role: Resident, runState: string): Step {
  if (role.stoppedBy !== "unread" || runState === "running") return step(guest);
  if (isSwitchoverRunState(runState)) return step({ ...guest, role: { ...role, stoppedBy: "switchover" } });
  return step({ ...guest, role: { ...role, stoppedBy: "owner" } }, notedPause(guest));
}

function notedPause({ fence }: Guest): readonly GuestOperation[] {
  return [{ kind: "journalWhenPossible", word: { kind: "runStateNoted", fence, runState: "paused" } }];
}

/** The transfer failed after the switchover's stop, and its VMM has not resumed the guest so far. */
function isRollingBack(guest: Guest, role: Resident): boolean {
  const { cpus, registration, stay } = guest;
  return (
    cpus.kind === "stopped" && registration === "registered" && stay.kind === "none" && role.start === "none"
  );
}

/** A VMM that does not resume its guest leaves it unregistered until the destination is fenced. */
function judgeRollback(guest: Guest, role: Resident, runState: string): Step {
  if (!isRollingBack(guest, role) || runState === "running") return step(guest);
  return runState === "finish-migrate"
    ? step(guest, [{ kind: "setTimer", timer: "readRollbackAgain", delayMs: READ_ROLLBACK_AGAIN_MS }])
    : step(guest, [{ kind: "deregisterNics" }]);
}
