import { SwitchoverError } from "../../proto/error.ts";
import { Phase, phaseToJSON } from "../../proto/gen/switchover/v1/migration.ts";

/**
 * Every step that a migration's phase may take; all others are refused, wherever they come from.
 *
 * One event may take several steps, because the words of two hosts reach the coordinator in any order: a
 * destination that runs is heard before the source that stopped.
 */
export const PHASE_EDGES: Readonly<Record<Phase, readonly Phase[]>> = {
  [Phase.UNSPECIFIED]: [Phase.PENDING],
  [Phase.PENDING]: [Phase.PREPARING, Phase.CANCELLING],
  [Phase.PREPARING]: [Phase.TRANSFERRING, Phase.CANCELLING, Phase.ROLLING_BACK, Phase.FAILED],
  [Phase.TRANSFERRING]: [Phase.SWITCHING_OVER, Phase.CANCELLING, Phase.ROLLING_BACK],
  [Phase.SWITCHING_OVER]: [
    Phase.COMPLETING,
    Phase.POST_COPY,
    Phase.CANCELLING,
    Phase.ROLLING_BACK,
    Phase.HANDING_BACK,
    Phase.AMBIGUOUS,
    Phase.FAILED,
  ],
  [Phase.POST_COPY]: [Phase.POST_COPY_PAUSED, Phase.POST_COPY_RECOVERING, Phase.COMPLETING, Phase.FAILED],
  [Phase.POST_COPY_PAUSED]: [Phase.POST_COPY_RECOVERING, Phase.POST_COPY, Phase.COMPLETING, Phase.FAILED],
  [Phase.POST_COPY_RECOVERING]: [Phase.POST_COPY, Phase.POST_COPY_PAUSED, Phase.COMPLETING, Phase.FAILED],
  [Phase.COMPLETING]: [Phase.COMPLETED, Phase.FAILED],
  [Phase.COMPLETED]: [],
  [Phase.CANCELLING]: [Phase.CANCELLED, Phase.SWITCHING_OVER, Phase.AMBIGUOUS],
  [Phase.CANCELLED]: [],
  [Phase.ROLLING_BACK]: [Phase.FAILED, Phase.SWITCHING_OVER, Phase.AMBIGUOUS],
  [Phase.HANDING_BACK]: [Phase.FAILED, Phase.SWITCHING_OVER, Phase.COMPLETING, Phase.POST_COPY],
  [Phase.AMBIGUOUS]: [
    Phase.COMPLETING,
    Phase.POST_COPY,
    Phase.ROLLING_BACK,
    Phase.HANDING_BACK,
    Phase.FAILED,
  ],
  [Phase.FAILED]: [],
};

/** A migration in this phase has ended: no event changes it any more. */
export function isTerminal(phase: Phase): boolean {
  return phase === Phase.COMPLETED || phase === Phase.CANCELLED || phase === Phase.FAILED;
}

/** INTERNAL / PHASE_EDGE for a step that the table does not have. */
export function assertPhaseEdge(from: Phase, to: Phase): void {
  if (PHASE_EDGES[from].includes(to)) return;
  throw new SwitchoverError(
    "INTERNAL",
    `A migration cannot go from ${phaseToJSON(from)} to ${phaseToJSON(to)}.`,
    {
      reason: "PHASE_EDGE",
    },
  );
}
