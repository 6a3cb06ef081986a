import { SwitchoverError } from "../../proto/error.ts";
import { MigrationMode, Outcome, Phase, phaseToJSON } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, hostOf, type Side } from "./complete-state.ts";
import { isSourceLost } from "./facts.ts";
import type { MigrationEvent } from "./migration-event.ts";
import { isTerminal } from "./phase-edges.ts";
import { isInPostCopy } from "./post-copy.ts";
import { mayBeGivenUp, mayBeResumed } from "./statements.ts";
import { transition } from "./transition.ts";

/** What a caller may ask of a migration that has begun. Pure: what it would change, and why it may be refused. */
export interface Ask {
  /** What the migration is to hear, in this order; hearing it again changes nothing. */
  readonly events: readonly MigrationEvent[];
  /** What is asked for is so, or has been. */
  isSo(state: CompleteState): boolean;
  /** Null where an open migration can still be asked for it. */
  refusal(state: CompleteState): SwitchoverError | null;
}

export const CANCEL: Ask = {
  events: [{ t: "CancelAsked" }],
  isSo: (state) => state.cancelAsked || state.migration.phase === Phase.CANCELLED,
  refusal: (state) => {
    if (!state.handedOff && !state.postCopyActive) return null;
    // In post-copy QEMU decides alone, from before the source's word on.
    const cause = state.handedOff ? "The source has given the guest away" : "The transfer is in post-copy";
    return refused("TOO_LATE", `${cause}: the migration cannot be cancelled any more.`);
  },
};

export const SWITCH_TO_POST_COPY: Ask = {
  events: [{ t: "PostCopyAsked" }],
  // One that is over has moved the CPUs, or was in post-copy, or is not what was asked for.
  isSo: (state) =>
    state.postCopyActive || (state.postCopyWanted && !isGoingBack(state) && !hasEndedInVain(state)),
  refusal: (state) => {
    if (state.migration.spec.mode !== MigrationMode.POST_COPY) {
      return refused("NOT_POST_COPY", "The migration was not asked for in post-copy mode.");
    }
    return isGoingBack(state) ? refused("ENDING", "The guest stays where it was, or returns there.") : null;
  },
};

export const PAUSE: Ask = {
  events: [{ t: "PauseAsked" }],
  isSo: (state) => state.pauseHeld,
  refusal: (state) =>
    isInPostCopy(state)
      ? null
      : refused("NOT_POST_COPY", `A migration in ${phaseOf(state)} has no post-copy transfer to pause.`),
};

export const RECOVER: Ask = {
  events: [{ t: "RecoverAsked" }],
  isSo: (state) => !state.pauseHeld && wasPaused(state),
  refusal: (state) =>
    isInPostCopy(state) && (state.pauseHeld || state.pauseWanted || wasPaused(state))
      ? null
      : refused("NOT_PAUSED", `A migration in ${phaseOf(state)} that was not paused needs no recovery.`),
};

/** What an operator states: dead hosts first, then where the migration ends. */
export function resolutionOf(
  deadSides: readonly Side[],
  resolution: "resumeSource" | "guestLost" | "none",
): Ask {
  const dead = deadSides.map((side) => ({ t: "HostDeclaredDead", side }) as const);
  return {
    events: resolution === "none" ? dead : [...dead, { t: "Resolved", resolution }],
    isSo: (state) => deadSides.every((side) => state[side].hostDead) && isResolved(state, resolution),
    refusal: (state) => {
      const stated = dead.reduce((before, event) => transition(before, event, 0n).state, state);
      return isTerminal(stated.migration.phase) ? null : refusalOfResolution(stated, resolution);
    },
  };
}

function isResolved(state: CompleteState, resolution: "resumeSource" | "guestLost" | "none"): boolean {
  const { outcome, phase } = state.migration;
  switch (resolution) {
    case "none":
      return true;
    case "resumeSource":
      return (
        (phase === Phase.HANDING_BACK && !isSourceLost(state)) ||
        outcome === Outcome.RUNS_ON_SOURCE ||
        outcome === Outcome.PAUSED_ON_SOURCE
      );
    case "guestLost":
      return outcome === Outcome.GUEST_LOST;
  }
}

function refusalOfResolution(
  state: CompleteState,
  resolution: "resumeSource" | "guestLost" | "none",
): SwitchoverError | null {
  if (resolution === "resumeSource") {
    if (state.source.hostDead) {
      return refused("SOURCE_DEAD", `Host ${hostOf(state, "source")} was declared dead: it runs no guest.`);
    }
    if (state.source.vmmLost) {
      const [source, destination] = [hostOf(state, "source"), hostOf(state, "destination")];
      return refused(
        "SOURCE_VMM_LOST",
        `The source's VMM on ${source} has ended: it runs no guest. Only ${destination} may have it: say that this host ` +
          "is dead, or that the guest is lost.",
      );
    }
    if (mayBeResumed(state)) return null;
    return refused("NOT_AMBIGUOUS", `In ${phaseOf(state)} it is known where the guest is.`);
  }
  if (resolution === "none" || mayBeGivenUp(state)) return null;
  return refused("NOT_AMBIGUOUS", `In ${phaseOf(state)} there is no reason to give the guest up.`);
}

function isGoingBack({ migration }: CompleteState): boolean {
  return (
    migration.phase === Phase.CANCELLING ||
    migration.phase === Phase.ROLLING_BACK ||
    migration.phase === Phase.HANDING_BACK
  );
}

function hasEndedInVain({ migration }: CompleteState): boolean {
  return migration.phase === Phase.CANCELLED || migration.phase === Phase.FAILED;
}

function wasPaused({ migration }: CompleteState): boolean {
  return migration.phases.some((entry) => entry.phase === Phase.POST_COPY_PAUSED);
}

function phaseOf({ migration }: CompleteState): string {
  return phaseToJSON(migration.phase).replace("PHASE_", "");
}

function refused(reason: string, sentence: string): SwitchoverError {
  return new SwitchoverError("FAILED_PRECONDITION", sentence, { reason, field: "migration_id" });
}
