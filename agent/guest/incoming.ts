import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import { claimForMigration } from "./await-word.ts";
import { fence } from "./fence.ts";
import { stopWithoutRight } from "./guard.ts";
import { type Guest, type Incoming, RESIDENT, type Resident } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import type { GuestOperation } from "./guest-operation.ts";
import { agreeOnNics, withheldOf } from "./nic-changes.ts";
import { retryDelayMs } from "./registration-retry.ts";
import { after, alarm, deregistration, insisting, type Step, step, told } from "./step.ts";

/** How long the word may lag behind readiness before it is asked for. */
const HAND_OFF_OVERDUE_MS = 20;
/** QEMU's words after which the guest's state is on its way in; a pause of the transfer may come before readiness. */
const LOADED_IN_POST_COPY: ReadonlySet<string> = new Set(["postcopy-active", "postcopy-paused"]);
/** What a VMM refused it may do later: a lock of the other host's, which is just ending. */
const START_AGAIN_MS = 500;
/** The kernel tells nobody of some that it takes away: routes with a link that went down and came up. */
const READ_BACK_LASTS_US = 2_000;
/** How long readiness may lag behind the word before the guest goes back. */
const READY_OVERDUE_MS = 10_000;
/**
 * From one question whether the guest is loaded to the next, in post-copy. The VMM answers in the loop that loads, so that
 * questions that follow each other at once take from it the time that they wait for. In live mode the load is through when
 * it is first asked, and the guest is registered meanwhile: there every answer is followed by the next question.
 */
const READINESS_READ_EVERY_MS = 1;

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
      if (event.status === "failed") return giveUp(guest, role, "Its VMM could not load the guest.");
      if (role.loaded || !isLoaded(guest, event.status)) return step(guest);
      return advance(guest, { ...role, loaded: true }, [{ kind: "readRunState", purpose: "readiness" }]);
    case "runStateRead":
      return event.purpose === "readiness" ? judgeReadiness(guest, role, event) : step(guest);
    case "nicsRegistered":
      return startIfDue(guest, { ...role, readBackAtUnixUs: event.atUnixUs });
    case "nicsMended":
      return guest.registration === "registered"
        ? startIfDue(guest, { ...role, readBackAtUnixUs: event.atUnixUs })
        : step(guest);
    case "nicsMendingFailed":
      return isDue(guest, role) ? step(guest, [{ kind: "registerNics" }]) : step(guest);
    case "nicsRegistrationRefused":
      return refuseRegistration(guest, role, event.sentence);
    case "contSent":
      return step(withRole(guest, { ...role, contSentAtUnixUs: event.atUnixUs }));
    case "contRefused":
      return refuseCont(guest, role, event);
    case "vmmLost":
      // Once `cont` was sent the guest is this side's, and so is its crash.
      if (role.contSentAtUnixUs !== null) return own(guest, role, "none", []);
      // What is not known not to have run is not handed back.
      return role.memory === "whole"
        ? giveUp(guest, role, `Its VMM is gone: ${event.sentence}`)
        : step(guest);
    case "cpusResumed":
      if (role.contSentAtUnixUs === null) {
        return stopWithoutRight(
          guest,
          "The CPUs ran before their start was ordered; they were stopped at once.",
        );
      }
      return own(guest, role, "none", [
        ...(guest.registration === "registered" ? [] : [{ kind: "registerNics" } as const]),
        { kind: "journalWhenPossible", word: { kind: "started", fence: guest.fence } },
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
      return wake(guest, role, event);
    case "destinationPrepared":
      return role.contSentAtUnixUs === null ? claimForMigration(guest, event) : step(guest);
    case "handBackOrdered":
      return giveUp({ ...guest, fence: event.fence }, role, "The coordinator asked for the guest back.");
    case "abortOrdered":
      return role.contSentAtUnixUs === null
        ? fence({ ...guest, fence: event.fence }, "The migration was aborted.", "released")
        : step(guest);
    default:
      return step(guest);
  }
}

function wake(guest: Guest, role: Incoming, event: GuestEvent & { kind: "timerFired" }): Step {
  switch (event.timer) {
    case "handOffOverdue":
      return role.handOff === null
        ? step(guest, [told({ $case: "handOffAwaited", value: { waitedMs: HAND_OFF_OVERDUE_MS } })])
        : step(guest);
    case "readReadinessAgain":
      return step(guest, role.ready === null ? [{ kind: "readRunState", purpose: "readiness" }] : []);
    case "startAgain":
      return role.contSentAtUnixUs === null ? advance(guest, role, []) : step(guest);
    case "wordAgain":
      if (role.contSentAtUnixUs !== null) return step(guest);
      return role.givenUp === null ? advanceOnceJournaled(guest, role) : giveUp(guest, role, role.givenUp);
    case "readyOverdue": {
      const sentence = `Its VMM was not ready ${READY_OVERDUE_MS} ms after the hand-off.`;
      const isOverdue = role.handOff !== null && role.ready === null && role.wayBack === "open";
      return isOverdue ? giveUp(guest, role, sentence) : step(guest);
    }
    case "stopAgain":
      return guest.cpus.kind === "running" && role.contSentAtUnixUs === null
        ? stopWithoutRight(
            guest,
            "The CPUs still run before their start was ordered; they are stopped again.",
          )
        : step(guest);
    default:
      return step(guest);
  }
}

/** The guest cannot be started here: the right to run goes back, unless `cont` was sent. */
function giveUp(guest: Guest, role: Incoming, sentence: string): Step {
  if (role.contSentAtUnixUs !== null) return step(guest);
  const meanwhile: Incoming = { ...role, givenUp: sentence, registrationAsked: false };
  return insisting(fence(guest, sentence), withRole(guest, meanwhile), deregistration(guest));
}

/** Where the source cannot have the guest back it is registered here as soon as that can be. */
function refuseRegistration(guest: Guest, role: Incoming, sentence: string): Step {
  return role.wayBack === "open"
    ? giveUp(guest, role, `Its NICs could not be registered: ${sentence}`)
    : tryAgain(guest, role, retryDelayMs(guest), deregistration(guest));
}

function tryAgain(
  guest: Guest,
  role: Incoming,
  delayMs: number,
  first: readonly GuestOperation[] = [],
): Step {
  const waiting: Incoming = { ...role, registrationAsked: false, contSentAtUnixUs: null };
  return step(withRole(guest, waiting), [...first, { kind: "setTimer", timer: "startAgain", delayMs }]);
}

/** A plain refusal is as good as never sent; without an answer the CPUs may run at any time. */
function refuseCont(guest: Guest, role: Incoming, event: GuestEvent & { kind: "contRefused" }): Step {
  const refused = alarm("CONT_REFUSED", event.sentence);
  if (event.outcome === "unknown" || guest.cpus.kind === "running") return step(guest, [refused]);
  if (role.wayBack === "none")
    return tryAgain(guest, role, START_AGAIN_MS, [{ kind: "deregisterNics" }, refused]);
  const notStarted: Incoming = { ...role, contSentAtUnixUs: null };
  return after([refused], giveUp(guest, notStarted, `Its VMM refused to start it: ${event.sentence}`));
}

/** The right to run is this side's, with the journal's word for it. */
function own(
  guest: Guest,
  role: Incoming,
  start: Resident["start"],
  operations: readonly GuestOperation[],
): Step {
  return step(
    { ...guest, role: { ...RESIDENT, start, contSentAtUnixUs: role.contSentAtUnixUs } },
    operations,
  );
}

function isLoaded(guest: Guest, status: string): boolean {
  return status === "completed" || (LOADED_IN_POST_COPY.has(status) && guest.migration?.mode === "postCopy");
}

/** Only the word of the very attempt that this instance was prepared for counts; a second one changes nothing. */
export function receiveWord(
  guest: Guest,
  role: Incoming,
  event: GuestEvent & { kind: "handOffReceived" },
): Step {
  const { handOff } = event;
  if (isRestated(guest, event)) return receiveRestated(guest, event);
  if (role.handOff !== null || !isForThisAttempt(guest, role, handOff)) return step(guest);
  const agreed = agreeOnNics(guest, handOff);
  return advance(agreed.guest, { ...role, handOff }, [
    told({ $case: "handOffReceived", value: { handOff, route: event.route } }),
    ...agreed.operations,
    ...(role.ready === null
      ? [{ kind: "setTimer", timer: "readyOverdue", delayMs: READY_OVERDUE_MS } as const]
      : []),
  ]);
}

/** A statement in the source's place, of which the coordinator knows: its host is dead. Under an epoch of its own. */
function isRestated(guest: Guest, event: GuestEvent & { kind: "handOffReceived" }): boolean {
  const { fence: ofWord, migrationId } = event.handOff;
  if (event.route !== HandOffRoute.GRPC || migrationId !== guest.migration?.migrationId) return false;
  return ofWord !== undefined && ofWord.epoch > guest.fence.epoch;
}

function receiveRestated(guest: Guest, event: GuestEvent & { kind: "handOffReceived" }): Step {
  const { role, migration } = guest;
  const { fence: ofWord } = event.handOff;
  if (role.kind !== "incoming" || role.contSentAtUnixUs !== null) return step(guest);
  if (migration === null || ofWord === undefined) return step(guest);
  if (!isForThisAttempt({ ...guest, fence: ofWord }, role, event.handOff)) return step(guest);
  const { bootId, migrationId, mode } = migration;
  const { sourceHostId } = role;
  // The source's own word, where it came, knows how its owner had the guest: the statement may not have heard of that.
  const handOff = role.handOff === null ? event.handOff : { ...role.handOff, fence: ofWord };
  const restated = { ...event, handOff };
  const taken = receiveWord({ ...guest, fence: ofWord }, { ...role, handOff: null }, restated);
  return step(taken.guest, [
    { kind: "journal", word: { kind: "prepared", fence: ofWord, migrationId, sourceHostId, mode, bootId } },
    ...taken.operations,
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
    const again: GuestOperation =
      guest.migration?.mode === "postCopy"
        ? { kind: "setTimer", timer: "readReadinessAgain", delayMs: READINESS_READ_EVERY_MS }
        : { kind: "readRunState", purpose: "readiness" };
    return step(guest, [again]);
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

/** The journal is tried before the NICs are: a full disk has nothing registered and deregistered again and again. */
function advanceOnceJournaled(guest: Guest, role: Incoming): Step {
  const next = advance(guest, role, []);
  if (next.operations.length === 0) return next;
  const tried: GuestOperation = { kind: "journal", word: { kind: "fenceSeen", fence: guest.fence } };
  return insisting(after([tried], next), guest);
}

/** What a new fact makes possible: registration, the start, or taking a paused guest over. */
function advance(guest: Guest, role: Incoming, first: readonly GuestOperation[]): Step {
  if (role.handOff === null || !role.loaded || role.givenUp !== null) {
    return step(withRole(guest, role), first);
  }
  if (role.handOff.runState !== "running") return takeOverIfDue(guest, role, first);
  if (role.ready === null && guest.migration?.mode === "postCopy") return step(withRole(guest, role), first);
  if (!role.registrationAsked) {
    return step(withRole(guest, { ...role, registrationAsked: true }), [...first, { kind: "registerNics" }]);
  }
  return after(first, startIfDue(guest, role));
}

function startIfDue(guest: Guest, role: Incoming): Step {
  if (!isDue(guest, role)) return step(withRole(guest, role));
  // What was read back is gone again, and not mended: registered and read back anew, or refused.
  if (guest.drift?.state === "waiting") return step(withRole(guest, role), [{ kind: "registerNics" }]);
  if (isStale(role)) return step(withRole(guest, role), [{ kind: "mendNics", registered: "registered" }]);
  const started = step(withRole(guest, role), [
    { kind: "journal", word: { kind: "contSent", fence: guest.fence, ...withheldOf(guest) } },
    { kind: "sendCont" },
  ]);
  // The CPUs stand until the journal takes it: nothing stays registered for them.
  const meanwhile = withRole(guest, { ...role, registrationAsked: false });
  return insisting(started, meanwhile, [{ kind: "deregisterNics" }]);
}

function isDue(guest: Guest, role: Incoming): boolean {
  return (
    role.ready !== null &&
    role.handOff !== null &&
    role.handOff.runState === "running" &&
    role.contSentAtUnixUs === null &&
    role.givenUp === null &&
    guest.registration === "registered"
  );
}

/** Read back so long before its VMM was ready that somebody may have undone it unheard: it is looked at anew. */
function isStale({ ready, readBackAtUnixUs }: Incoming): boolean {
  if (ready === null || readBackAtUnixUs === null) return true;
  return ready.atUnixUs - readBackAtUnixUs > READ_BACK_LASTS_US;
}

function takeOverIfDue(guest: Guest, role: Incoming, first: readonly GuestOperation[]): Step {
  if (role.ready === null) return step(withRole(guest, role), first);
  const taken = own(guest, role, "none", [
    ...first,
    { kind: "journal", word: { kind: "takenOverPaused", fence: guest.fence, ...withheldOf(guest) } },
    told({ $case: "takenOverPaused", value: { runState: role.handOff?.runState ?? "paused" } }),
  ]);
  return insisting(taken, withRole(guest, role));
}

function withRole(guest: Guest, role: Incoming): Guest {
  return { ...guest, role };
}
