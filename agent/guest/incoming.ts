import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { Guest, Incoming, Resident } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import type { GuestOperation } from "./guest-operation.ts";
import { alarm, type Step, step, told } from "./step.ts";
import { evolveVacant } from "./vacant.ts";

/** How long the word may lag behind readiness before it is asked for. */
const HAND_OFF_OVERDUE_MS = 20;
/** Questions that follow their answers at once; after that one a millisecond, so that a slow load is not hindered. */
const EAGER_READINESS_READS = 32;

/**
 * Waits for two things that may come in either order: the guest loaded (`query-status`, sent after the VMM's
 * `completed` or `postcopy-active`, says it stands) and the source's word. In live mode registration overlaps the answer
 * once the word is here; in post-copy the answer may be long in coming, since loading faults pages in, and a stopped
 * guest must not be registered all that time. `cont` needs all three.
 */
export function evolveIncoming(guest: Guest, role: Incoming, event: GuestEvent): Step {
  switch (event.kind) {
    case "handOffReceived":
      return receiveWord(guest, role, event);
    case "transferStatusChanged":
      if (role.loaded || !isLoaded(guest, event.status)) return step(guest);
      return advance(guest, { ...role, loaded: true }, [{ kind: "readRunState", purpose: "readiness" }]);
    case "runStateRead":
      return event.purpose === "readiness" ? judgeReadiness(guest, role, event) : step(guest);
    case "nicsRegistered":
      return startIfDue(guest, role);
    case "contSent":
      return step(withRole(guest, { ...role, contSentAtUnixUs: event.atUnixUs }));
    case "contRefused":
      return step(guest, [{ kind: "deregisterNics" }, alarm("CONT_REFUSED", event.sentence)]);
    case "cpusResumed":
      if (role.contSentAtUnixUs === null) {
        return step(guest, [
          { kind: "sendStop" },
          alarm(
            "RAN_WITHOUT_RIGHT",
            "The CPUs ran before their start was ordered; they were stopped at once.",
          ),
        ]);
      }
      return own(guest, role, "none", [
        ...(guest.registration === "registered" ? [] : [{ kind: "registerNics" } as const]),
        { kind: "announce" },
      ]);
    case "cpusStopped":
      // Someone else's doing, for QEMU itself does not stop what it has just loaded: begin again where it was.
      if (role.contSentAtUnixUs !== null) return own(guest, role, "registering", [{ kind: "registerNics" }]);
      return step(
        withRole(guest, { ...role, ready: null, registrationAsked: false }),
        role.loaded ? [{ kind: "readRunState", purpose: "readiness" }] : [],
      );
    case "timerFired":
      if (event.timer === "handOffOverdue" && role.handOff === null) {
        return step(guest, [told({ $case: "handOffAwaited", value: { waitedMs: HAND_OFF_OVERDUE_MS } })]);
      }
      return event.timer === "readReadinessAgain" && role.ready === null
        ? step(guest, [{ kind: "readRunState", purpose: "readiness" }])
        : step(guest);
    case "destinationPrepared":
      return evolveVacant(guest, event);
    default:
      return step(guest);
  }
}

/** The right to run is this side's, with the journal's word for it. */
function own(
  guest: Guest,
  role: Incoming,
  start: Resident["start"],
  operations: readonly GuestOperation[],
): Step {
  return step(
    { ...guest, role: { kind: "resident", start, contSentAtUnixUs: role.contSentAtUnixUs } },
    operations,
  );
}

function isLoaded(guest: Guest, status: string): boolean {
  return status === "completed" || (status === "postcopy-active" && guest.migration?.mode === "postCopy");
}

/** Only the word of the very attempt that this instance was prepared for counts; a second one changes nothing. */
function receiveWord(guest: Guest, role: Incoming, event: GuestEvent & { kind: "handOffReceived" }): Step {
  const { handOff } = event;
  if (role.handOff !== null || !isForThisAttempt(guest, role, handOff)) return step(guest);
  return advance(guest, { ...role, handOff }, [
    told({ $case: "handOffReceived", value: { handOff, route: event.route } }),
  ]);
}

function isForThisAttempt(guest: Guest, role: Incoming, handOff: HandOff): boolean {
  return (
    handOff.guestId === guest.guestId &&
    handOff.fence?.epoch === guest.fence.epoch &&
    handOff.sourceHostId === role.sourceHostId &&
    handOff.destinationHostId === guest.hostId &&
    handOff.migrationId === guest.migration?.migrationId
  );
}

function judgeReadiness(guest: Guest, role: Incoming, event: GuestEvent & { kind: "runStateRead" }): Step {
  if (role.ready !== null || !role.loaded) return step(guest);
  if (event.runState === "inmigrate") {
    const readinessReads = role.readinessReads + 1;
    const again: GuestOperation =
      readinessReads < EAGER_READINESS_READS
        ? { kind: "readRunState", purpose: "readiness" }
        : { kind: "setTimer", timer: "readReadinessAgain", delayMs: 1 };
    return step(withRole(guest, { ...role, readinessReads }), [again]);
  }
  if (event.runState === "running") return step(guest);
  const ready = { runState: event.runState, atUnixUs: event.atUnixUs };
  return advance(guest, { ...role, ready }, [
    told({
      $case: "destinationReady",
      value: { runState: event.runState, readyAtUnixUs: BigInt(event.atUnixUs) },
    }),
    ...(role.handOff === null
      ? [{ kind: "setTimer", timer: "handOffOverdue", delayMs: HAND_OFF_OVERDUE_MS } as const]
      : []),
  ]);
}

/** What a new fact makes possible: registration, the start, or taking a paused guest over. */
function advance(guest: Guest, role: Incoming, first: readonly GuestOperation[]): Step {
  if (role.handOff === null || !role.loaded) return step(withRole(guest, role), first);
  if (role.handOff.runState !== "running") return takeOverIfDue(guest, role, first);
  if (role.ready === null && guest.migration?.mode === "postCopy") return step(withRole(guest, role), first);
  if (!role.registrationAsked) {
    return step(withRole(guest, { ...role, registrationAsked: true }), [...first, { kind: "registerNics" }]);
  }
  const started = startIfDue(guest, role);
  return step(started.guest, [...first, ...started.operations]);
}

function startIfDue(guest: Guest, role: Incoming): Step {
  const due =
    role.ready !== null &&
    role.handOff !== null &&
    role.handOff.runState === "running" &&
    role.contSentAtUnixUs === null &&
    guest.registration === "registered";
  if (!due) return step(withRole(guest, role));
  return step(withRole(guest, role), [
    { kind: "journal", word: { kind: "contSent", fence: guest.fence } },
    { kind: "sendCont" },
  ]);
}

function takeOverIfDue(guest: Guest, role: Incoming, first: readonly GuestOperation[]): Step {
  if (role.ready === null) return step(withRole(guest, role), first);
  return own(guest, role, "none", [
    { kind: "journal", word: { kind: "takenOverPaused", fence: guest.fence } },
    ...first,
    told({ $case: "takenOverPaused", value: { runState: role.handOff?.runState ?? "paused" } }),
  ]);
}

function withRole(guest: Guest, role: Incoming): Guest {
  return { ...guest, role };
}
