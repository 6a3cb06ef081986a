import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, withFacts, withSide } from "./complete-state.ts";
import { failureOf, isSettled, NO_WAY_BACK } from "./facts.ts";
import { isForgottenInPostCopy } from "./rollback.ts";
import { withStatedHandOff } from "./statements.ts";

/**
 * A post-copy source that forgot its word, and cannot take the guest back, has journaled that it does not: the destination,
 * which gave its own word and whose VMM was kept for that source, is to start the guest after all. By no word of the
 * source's, which gives none any more; so under an epoch of its own.
 */
export function withDeclinedGuest(state: CompleteState, atUnixUs: bigint): CompleteState {
  if (!isDeclined(state)) return state;
  const stated = withStatedHandOff(state, atUnixUs);
  const done = stated.destination.done.filter((name) => name !== "handBack");
  return withFacts(withSide(stated, "destination", { done }), { handedBack: false });
}

function isDeclined(state: CompleteState): boolean {
  const { destination, handedBack, handedOff, migration } = state;
  if (migration.phase !== Phase.ROLLING_BACK && migration.phase !== Phase.CANCELLING) return false;
  if (handedOff || !handedBack || destination.hostDead || destination.vmmLost) return false;
  if (!isForgottenInPostCopy(state) || isSettled(state, "destination", "abortDestination")) return false;
  return failureOf(state, "source", "resumeSource")?.reason === NO_WAY_BACK;
}
