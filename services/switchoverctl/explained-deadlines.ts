import { HAND_OFF_WITHIN_US, TAKE_OVER_WITHIN_US } from "../../coordinator/migration/deadlines.ts";
import {
  DeadlineAction,
  InstantKind,
  type Migration,
  MigrationMode,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import type { ExplainedDeadline } from "./explanation.ts";

/** What happens by the clock if nothing happens before; the next one first. */
export function deadlinesIn(migration: Migration): readonly ExplainedDeadline[] {
  return [
    ...deadlineOfCaller(migration),
    ...deadlineOfPostCopy(migration),
    ...deadlinesOfSwitchover(migration),
  ].sort((left, right) => (left.atUnixUs < right.atUnixUs ? -1 : 1));
}

const BEFORE_THE_SWITCH: readonly Phase[] = [Phase.PENDING, Phase.PREPARING, Phase.TRANSFERRING];

function deadlineOfCaller({
  phase,
  spec,
  reasonCode,
  requestedAtUnixUs,
}: Migration): readonly ExplainedDeadline[] {
  const deadline = spec?.deadline;
  if (deadline === undefined || !BEFORE_THE_SWITCH.includes(phase) || reasonCode === "DEADLINE_PASSED")
    return [];
  const atUnixUs = requestedAtUnixUs + BigInt(deadline.afterMs) * 1_000n;
  const isSwitch = deadline.action === DeadlineAction.SWITCH_TO_POST_COPY;
  return [
    {
      atUnixUs,
      sentence: isSwitch
        ? "the CPUs move, and pages follow"
        : "it is cancelled, unless its CPUs have stopped",
    },
  ];
}

function deadlineOfPostCopy({ phase, phases, spec }: Migration): readonly ExplainedDeadline[] {
  const trigger = spec?.postCopy?.trigger;
  const enteredAtUnixUs = phases.at(-1)?.atUnixUs;
  if (phase !== Phase.TRANSFERRING || spec?.mode !== MigrationMode.POST_COPY) return [];
  if (trigger?.$case !== "afterMs" || enteredAtUnixUs === undefined) return [];
  const atUnixUs = enteredAtUnixUs + BigInt(trigger.value) * 1_000n;
  return [{ atUnixUs, sentence: "the CPUs move, and pages follow" }];
}

/** By the hosts' own clocks, and so as good as they agree with this one. */
function deadlinesOfSwitchover({ phase, instants }: Migration): readonly ExplainedDeadline[] {
  if (phase !== Phase.SWITCHING_OVER) return [];
  const find = (kind: InstantKind) => instants.find((instant) => instant.kind === kind)?.atUnixUs;
  const [ready, handedOff, resumed] = [InstantKind.READY, InstantKind.HANDED_OFF, InstantKind.RESUMED].map(
    find,
  );
  if (handedOff === undefined) {
    return ready === undefined
      ? []
      : [{ atUnixUs: ready + HAND_OFF_WITHIN_US, sentence: "the source is asked to keep the guest" }];
  }
  return resumed === undefined
    ? [
        {
          atUnixUs: handedOff + TAKE_OVER_WITHIN_US,
          sentence: "the destination is asked whether it has the guest",
        },
      ]
    : [];
}
