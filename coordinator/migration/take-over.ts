import type { TakenOverAnswer } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { type CompleteState, hostOf, withFacts, withSide } from "./complete-state.ts";
import { withEnding } from "./facts.ts";

/**
 * Only who was given the right to run takes a guest over: whatever was heard of the source, it handed off. (A host that
 * crashes loses what its agent wrote last, and with it the QEMU that it wrote about.)
 */
export function withTakenOver(state: CompleteState): CompleteState {
  if (state.handedBack) return state;
  return withFacts(state, { kept: false, handedOff: true, takenOver: true, handOffWanted: false });
}

/** The destination's own answer that it has the guest; what it told of the transfer stands unless it has forgotten that. */
export function withTakenOverAnswer(state: CompleteState, answer: TakenOverAnswer): CompleteState {
  const { runState, transferStatus, vmmLost } = answer;
  const { destination } = state;
  const isSaid = destination.wordsForgotten && transferStatus !== "" && transferStatus !== "none";
  // Whatever was heard before, and may have been older: nothing comes after that.
  const isNews = isSaid || transferStatus === "completed";
  const known = withSide(state, "destination", {
    runState,
    cpusStopped: runState !== "running",
    vmmLost: destination.vmmLost || vmmLost,
    transferStatus: isNews ? transferStatus : destination.transferStatus,
    wordsForgotten: false,
  });
  const taken = withTakenOver(known);
  return isNews ? learnDestinationStatus(taken, { status: transferStatus, error: "" }) : taken;
}

/** Of the incoming transfer. */
export function learnDestinationStatus(
  state: CompleteState,
  { status, error }: { readonly status: string; readonly error: string },
): CompleteState {
  if (status === "completed") return withFacts(state, { pagesComplete: true });
  if (status.startsWith("postcopy-")) return withFacts(state, { postCopyActive: true });
  if (status !== "failed") return state;
  const sentence =
    error === "" ? `The VMM on ${hostOf(state, "destination")} failed to load the guest.` : error;
  return withEnding(state, "LOAD_FAILED", sentence);
}
