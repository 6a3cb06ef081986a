import { invalidArgument } from "../../proto/error.ts";
import {
  DeadlineAction,
  type MigrationDeadline,
  MigrationMode,
} from "../../proto/gen/switchover/v1/migration.ts";
import type { Fault } from "../config/read-settings.ts";
import { withDefault } from "../config/setting.ts";

/** What happens at `--deadline`, for every command that takes one. */
export const AT_DEADLINE = withDefault(parseDeadlineAction, "cancel", {
  placeholder: "WHAT",
  help: "cancel, or post-copy: move the CPUs then; in post-copy mode",
});

/** Its part of a command's values. */
interface DeadlineValues {
  readonly mode: MigrationMode;
  readonly deadline: number | undefined;
  readonly "at-deadline": DeadlineAction;
}

/** Faults that show only when its flags are seen together. */
export function deadlineFaults(values: DeadlineValues): readonly Fault[] {
  if (values["at-deadline"] !== DeadlineAction.SWITCH_TO_POST_COPY) return [];
  const faults: Fault[] = [];
  if (values.deadline === undefined) {
    faults.push({ name: "--at-deadline", sentence: "--at-deadline needs --deadline." });
  }
  if (values.mode !== MigrationMode.POST_COPY) {
    faults.push({ name: "--mode", sentence: "--at-deadline post-copy needs --mode post-copy." });
  }
  return faults;
}

export function deadlineOf(values: DeadlineValues): MigrationDeadline | undefined {
  const { deadline } = values;
  return deadline === undefined ? undefined : { afterMs: deadline, action: values["at-deadline"] };
}

function parseDeadlineAction(text: string, field: string): DeadlineAction {
  if (text === "cancel") return DeadlineAction.CANCEL;
  if (text === "post-copy") return DeadlineAction.SWITCH_TO_POST_COPY;
  throw invalidArgument(field, `${field}: "${text}" is neither cancel nor post-copy.`);
}
