import { SwitchoverError } from "../../proto/error.ts";
import type { Fence } from "../../proto/gen/switchover/v1/fence.ts";
import type { GivenTrace } from "../../proto/trace-context.ts";
import { isUnanswered } from "../migration/facts.ts";
import type { MigrationCommand } from "../migration/migration-command.ts";
import type { MigrationEvent } from "../migration/migration-event.ts";
import type { FailedAttempt } from "../migration/retries.ts";
import { backoffMs, pause } from "./pause.ts";
import { performCommand } from "./perform-command.ts";
import type { RunnerLimits, RunnerPorts } from "./runner-ports.ts";

/** What a command needs to know about its migration while it is tried. */
export interface CommandScope {
  /** The newest committed fence: one that was overtaken is refused by the agent, and harmlessly tried again. */
  fence(): Fence;
  /** False once the migration has no use for the answer: it is not tried again then. */
  isWanted(): boolean;
  /** What came to nothing, and is tried again or was given up; told once, with all attempts. */
  onRetried(attempts: readonly FailedAttempt[]): void;
  /** The agent has acted on a newer fence. */
  onStaleFence(newest: Fence): void;
  readonly signal: AbortSignal;
  /** The trace that the migration is in. */
  readonly trace: GivenTrace;
}

/**
 * Tries a command until its agent answers, within `unansweredForMs`, and returns the answer as the migration hears
 * it; null where nobody waits for it any more. Commands are idempotent, so an attempt whose outcome is unknown is
 * repeated.
 */
export async function driveCommand(
  command: MigrationCommand,
  scope: CommandScope,
  ports: Pick<RunnerPorts, "agents" | "fencing" | "clock" | "log">,
  limits: RunnerLimits,
): Promise<MigrationEvent | null> {
  const { side, epoch, name } = command;
  const { clock, log } = ports;
  const failed: FailedAttempt[] = [];
  const answered = (event: MigrationEvent | null): MigrationEvent | null => {
    if (failed.length > 0) scope.onRetried(failed);
    return event;
  };
  const giveUpAtUnixUs = clock.unixUs() + limits.unansweredForMs * 1_000;
  for (let attempt = 0; ; attempt += 1) {
    if (scope.signal.aborted || !scope.isWanted()) return answered(null);
    try {
      const { signal, trace } = scope;
      const call = { deadlineMs: limits.commandDeadlineMs, signal, trace };
      const reply = await performCommand(ports, command, scope.fence(), call);
      return answered({ t: "CommandSucceeded", side, epoch, reply });
    } catch (thrown) {
      if (scope.signal.aborted) return null;
      const { code, reason, message: sentence, metadata } = SwitchoverError.from(thrown);
      failed.push({ code, reason });
      const newest = reason === "STALE_FENCE" ? fenceIn(metadata) : null;
      if (newest !== null) scope.onStaleFence(newest);
      const waitMs = backoffMs(attempt, limits.backoffMs, limits.longestBackoffMs);
      if (!isUnanswered({ code }) || clock.unixUs() + waitMs * 1_000 >= giveUpAtUnixUs) {
        log.warn(
          {
            migration_id: command.migrationId,
            guest_id: command.guestId,
            host_id: command.hostId,
            epoch: String(epoch),
            command: name,
            code,
            reason,
          },
          `${name} failed: ${sentence}`,
        );
        return answered({ t: "CommandFailed", side, epoch, name, error: { code, reason, sentence } });
      }
      await pause(clock, waitMs, scope.signal);
    }
  }
}

/** The fence that an agent says it has acted on; null where it says none. */
function fenceIn(metadata: Readonly<Record<string, string>>): Fence | null {
  const { newest_epoch: epoch = "", newest_revision: revision = "" } = metadata;
  const isNumber = (text: string) => /^\d{1,20}$/.test(text);
  return isNumber(epoch) && isNumber(revision) ? { epoch: BigInt(epoch), revision: BigInt(revision) } : null;
}
