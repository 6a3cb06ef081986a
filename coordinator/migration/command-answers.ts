import type { HandOff, NicName } from "../../proto/gen/switchover/v1/guest.ts";
import { withHandOff, withKept, withReachable } from "./agent-words.ts";
import { type CompleteState, type Side, withFacts, withMigration, withSide } from "./complete-state.ts";
import {
  isSilence,
  isUnknownThere,
  NOT_GIVEN,
  withDone,
  withEnding,
  withFailure,
  withRaisedEpoch,
} from "./facts.ts";
import type { CommandName } from "./migration-command.ts";
import type { CommandError, CommandReply, PreflightNic } from "./migration-event.ts";
import { nicDifferenceIn } from "./prepare.ts";
import { isWordForgotten } from "./rollback.ts";
import { withTakenOver, withTakenOverAnswer } from "./take-over.ts";

/** Of a command whose answer is only of use while it is waited for. */
type AwaitedReply = Exclude<CommandReply, { readonly name: "fenceHost" | "compareClocks" }>;

/** What a migration learns from the answer to a command that it still waits for. */
export function learnReply(state: CompleteState, side: Side, reply: AwaitedReply): CompleteState {
  const reached = withReachable(state, side);
  switch (reply.name) {
    case "preflight":
      return learnPreflight(reached, side, reply);
    case "prepareDestination":
      return withDone(withFacts(reached, { incomingUri: reply.incomingUri }), side, reply.name);
    case "armSource":
      return withDone(withSide(reached, side, { runState: reply.runState }), side, reply.name);
    case "getHandOff":
      return learnHandOff(reached, side, reply.handOff);
    case "cancelTransfer": {
      const done = withDone(reached, side, reply.name);
      if (reply.answer === "kept") return withKept(done, reply.runState, reply.cpuState);
      return withHandOff(withHandOff(done, undefined), reply.handOff);
    }
    case "deliverHandOff": {
      const done = withDone(reached, side, reply.name);
      return reply.takenOver === undefined
        ? withSide(done, side, { wordsForgotten: false })
        : withTakenOverAnswer(done, reply.takenOver);
    }
    case "handBack": {
      if (reply.answer === "handedBack") return withFacts(reached, { handedBack: true });
      const known = reply.vmmLost ? withSide(reached, side, { vmmLost: true }) : reached;
      return isNobodysMemory(known)
        ? withFailure(known, side, reply.name, MAY_HAVE_STARTED)
        : withTakenOver(known);
    }
    case "resumeSource":
      return withDone(
        withFacts(withSide(reached, side, { runState: reply.runState, cpusStopped: false }), {
          takenBack: true,
        }),
        side,
        reply.name,
      );
    case "recoverMigration": {
      const done = withDone(reached, side, reply.name);
      return side === "destination" ? withFacts(done, { recoveryUri: reply.recoveryUri }) : done;
    }
    case "beginTransfer":
    case "switchToPostCopy":
    case "releaseSource":
    case "abortDestination":
    case "pauseMigration":
      return withDone(reached, side, reply.name);
  }
}

/**
 * A source that forgot whether it gave its guest away may run it, and a destination whose VMM is gone says "too late" also
 * where it only cannot exclude that it had it: then a person has to say which.
 */
function isNobodysMemory(state: CompleteState): boolean {
  return isWordForgotten(state) && state.destination.vmmLost;
}

const MAY_HAVE_STARTED: CommandError = {
  code: "FAILED_PRECONDITION",
  reason: "MAY_HAVE_STARTED",
  sentence:
    "The source does not remember whether it handed the guest off, and the destination may have started it and lost it.",
};

function learnHandOff(state: CompleteState, side: Side, handOff: HandOff | undefined): CompleteState {
  const learned = handOff === undefined ? state : withHandOff(state, handOff);
  return learned.handOff === undefined
    ? withFailure(learned, side, "getHandOff", {
        code: "FAILED_PRECONDITION",
        reason: NOT_GIVEN,
        sentence: "The source has not handed off yet.",
      })
    : withDone(learned, side, "getHandOff");
}

function learnPreflight(
  state: CompleteState,
  side: Side,
  reply: Extract<CommandReply, { readonly name: "preflight" }>,
): CompleteState {
  const { instance, refusals } = reply;
  const known =
    instance === null
      ? state
      : withMigratedNics(
          withSide(state, side, { instanceId: instance.instanceId, runState: instance.runState }),
          side,
          instance.nics,
        );
  const [first] = refusals;
  if (first !== undefined) {
    return learnFailure(known, side, "preflight", {
      code: "FAILED_PRECONDITION",
      reason: first.reason,
      sentence: `The ${side} refuses: ${refusals.map((refusal) => refusal.sentence).join(" ")}`,
    });
  }
  if (instance === null) {
    return learnFailure(known, side, "preflight", {
      code: "NOT_FOUND",
      reason: "INSTANCE_UNKNOWN",
      sentence: `The ${side} has no such instance of the guest.`,
    });
  }
  const names = instance.nics.map(({ nicId, macAddress }) => ({ nicId, macAddress }));
  const difference = nicDifferenceIn(withSide(known, side, { nics: { nics: names } }));
  if (difference.found === "differ") {
    return learnFailure(known, side, "preflight", {
      code: "FAILED_PRECONDITION",
      reason: "NIC_SETS_DIFFER",
      sentence: difference.sentence,
    });
  }
  const done = withDone(withNicsUntilCompared(known, side, names), side, "preflight");
  return instance.epoch >= done.migration.fence.epoch ? withRaisedEpoch(done, instance.epoch) : done;
}

/** For the receipt: each NIC that either side has told of. */
function withMigratedNics(state: CompleteState, side: Side, told: readonly PreflightNic[]): CompleteState {
  const kindOf = (device: string) =>
    side === "source" ? { sourceDevice: device } : { destinationDevice: device };
  let { nics } = state.migration;
  for (const { nicId, macAddress, device } of told) {
    const known = nics.find((nic) => nic.nicId === nicId);
    const before = known ?? { nicId, macAddress, sourceDevice: "", destinationDevice: "" };
    const after = { ...before, ...kindOf(device) };
    nics = known === undefined ? [...nics, after] : nics.map((nic) => (nic === known ? after : nic));
  }
  return withMigration(state, { nics });
}

/** Kept until the other side's are here, which are compared with them. */
function withNicsUntilCompared(state: CompleteState, side: Side, nics: readonly NicName[]): CompleteState {
  const other = side === "source" ? "destination" : "source";
  return state[other].nics === undefined
    ? withSide(state, side, { nics: { nics } })
    : withSide(state, other, { nics: undefined });
}

/** The reason with which a destination refuses to be aborted: it told its VMM to start the guest. */
const CONT_SENT = "CONT_SENT";

/** The reason with which an agent refuses what a VMM that is gone cannot do. */
const VMM_LOST = "VMM_LOST";

/** Where the source did not get through, the destination is to listen anew before it tries again. */
function withListenerForgotten(state: CompleteState): CompleteState {
  const done = state.destination.done.filter((name) => name !== "recoverMigration");
  return withSide(state, "destination", { done });
}

/** The steps without which there is no migration. */
const NEEDED_TO_BEGIN: readonly CommandName[] = [
  "preflight",
  "prepareDestination",
  "armSource",
  "beginTransfer",
];

/** What a migration learns from a command that was given up. */
export function learnFailure(
  state: CompleteState,
  side: Side,
  name: CommandName,
  error: CommandError,
): CompleteState {
  // It may be the other host that did not answer, and nothing hangs on it.
  if (name === "compareClocks") return withFailure(state, side, name, error);
  if (name === "abortDestination" && error.reason === CONT_SENT)
    return withTakenOver(withReachable(state, side));
  const isAgents = name !== "fenceHost" && !isSilence(error);
  const answered = isAgents ? withReachable(state, side) : state;
  const known = error.reason === VMM_LOST ? withSide(answered, side, { vmmLost: true }) : answered;
  const failed = withFailure(known, side, name, error);
  if (name === "recoverMigration" && side === "source") return withListenerForgotten(failed);
  if (name === "getHandOff" && isUnknownThere(failed, side, name)) {
    return withEnding(
      failed,
      "WORDS_FORGOTTEN",
      "The source does not remember the migration: it gives no word of it.",
    );
  }
  return NEEDED_TO_BEGIN.includes(name) ? withEnding(failed, error.reason, error.sentence) : failed;
}
