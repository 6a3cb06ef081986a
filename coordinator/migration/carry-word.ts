import { type CompleteState, withFacts, withSide } from "./complete-state.ts";
import { failureOf, isDone, isSettled } from "./facts.ts";
import { command, type MigrationCommand } from "./migration-command.ts";

/**
 * The way of the hand-off when NATS does not bring it: from the source's journal, by the coordinator's hand. Both agents
 * answer by what they remember, so the same two questions also bring to light what was said and not heard: whether the
 * source gave its word, and whether the destination has the guest.
 */
export function commandsToCarryTheWord(state: CompleteState): readonly MigrationCommand[] {
  if (!isWordWanted(state) || state.takenOver || (state.handedBack && state.handedOff)) return [];
  return commandsToBringIt(state);
}

/** Asks a destination that has the guest how it is, where it has forgotten what it said of that. */
export function commandsToAskAfterGuest(state: CompleteState): readonly MigrationCommand[] {
  return state.destination.wordsForgotten && !state.pagesComplete ? commandsToBringIt(state) : [];
}

function commandsToBringIt(state: CompleteState): readonly MigrationCommand[] {
  if (state.handOff === undefined) {
    return state.source.hostDead || isSettled(state, "source", "getHandOff")
      ? []
      : [command(state, "source", { name: "getHandOff" })];
  }
  return state.destination.hostDead || isSettled(state, "destination", "deliverHandOff")
    ? []
    : [command(state, "destination", { name: "deliverHandOff", handOff: state.handOff })];
}

function isWordWanted(state: CompleteState): boolean {
  if (state.handOffWanted || isSourceToRecall(state)) return true;
  return state.handedOff && state.destination.wordsForgotten;
}

/** Given, and neither acted on nor handed back, as far as is known. */
function isWordOut({ handedBack, handedOff, takenOver }: CompleteState): boolean {
  return handedOff && !takenOver && !handedBack;
}

/** What the source said last cannot be heard any more: it may have handed off, kept the guest, or still be sending it. */
export function isSourceToRecall(state: CompleteState): boolean {
  return state.source.wordsForgotten && !state.handedOff && !state.kept;
}

/** The destination is ready, and asks for a word that has not been given. */
export function isHandOffAwaited(state: CompleteState): boolean {
  return state.handOffWanted && !state.handedOff && !state.kept;
}

/** The word is out, and the destination says nothing: one that was not heard, or forgot it, answers when it is brought again. */
export function isTakeOverAwaited(state: CompleteState): boolean {
  if (!isWordOut(state)) return false;
  if (failureOf(state, "destination", "deliverHandOff") !== undefined) return false;
  return !isWordWanted(state) || isDone(state, "destination", "deliverHandOff");
}

/** The word was brought by hand, or is being, and the destination has not taken the guest over by it. */
export function isWordCarried(state: CompleteState): boolean {
  return isWordWanted(state) && isWordOut(state);
}

/** The destination is to be asked, also one that had answered, whether it has the guest. */
export function withTakeOverAsked(state: CompleteState): CompleteState {
  return withFacts(withoutDelivery(state), { handOffWanted: true });
}

/** The word is brought again where it is wanted, although it was answered. */
export function withoutDelivery(state: CompleteState): CompleteState {
  const { done } = state.destination;
  if (!done.includes("deliverHandOff")) return state;
  return withSide(state, "destination", { done: done.filter((name) => name !== "deliverHandOff") });
}

/** The destination is to be asked anew how its guest is, as where it has forgotten what it said of that. */
export function withGuestAsked(state: CompleteState): CompleteState {
  return withSide(withoutDelivery(state), "destination", { wordsForgotten: true });
}
