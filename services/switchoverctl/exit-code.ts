import { type ErrorCode, SwitchoverError } from "../../proto/error.ts";
import { type Migration, Phase } from "../../proto/gen/switchover/v1/migration.ts";

/** What switchoverctl exits with, for scripts. */
export const EXIT_CODES = {
  /** The migration is complete, or what was asked for is done. */
  done: 0,
  /** The migration failed or was cancelled, or the coordinator refused. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** No coordinator answered, so that nothing is known. */
  unreachable: 3,
  /** The person has gone, by Ctrl-C, before the answer or the end: as a shell shows a program that SIGINT ended. */
  left: 130,
  /** Nobody reads the output any more: as a shell shows a program that SIGPIPE ended. */
  unread: 141,
} as const;

const UNANSWERED: ReadonlySet<ErrorCode> = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED"]);

/** Undefined while the migration goes on. */
export function exitCodeOf(migration: Migration): number | undefined {
  switch (migration.phase) {
    case Phase.COMPLETED:
      return EXIT_CODES.done;
    case Phase.FAILED:
    case Phase.CANCELLED:
      return EXIT_CODES.failed;
    default:
      return undefined;
  }
}

export function exitCodeOfError(thrown: unknown): number {
  const { code } = SwitchoverError.from(thrown);
  if (UNANSWERED.has(code)) return EXIT_CODES.unreachable;
  return code === "INVALID_ARGUMENT" ? EXIT_CODES.usage : EXIT_CODES.failed;
}
