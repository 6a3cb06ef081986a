import type { CommandRetry } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, hostOf, type Side, withFacts } from "./complete-state.ts";
import type { CommandName } from "./migration-command.ts";

/** An attempt of a command that came to nothing. */
export interface FailedAttempt {
  readonly code: string;
  readonly reason: string;
}

/** Some twenty commands fail in a few ways each; what nobody has thought of is not to fill the record. */
const KINDS_AT_MOST = 64;

/** The state with the attempts counted, each by command, host, code and reason. */
export function withRetries(
  state: CompleteState,
  side: Side,
  name: CommandName,
  attempts: readonly FailedAttempt[],
): CompleteState {
  const hostId = hostOf(state, side);
  let { retries } = state;
  for (const { code, reason } of attempts) {
    const isKind = (kind: CommandRetry) =>
      kind.command === name && kind.hostId === hostId && kind.code === code && kind.reason === reason;
    if (retries.some(isKind)) {
      retries = retries.map((kind) => (isKind(kind) ? { ...kind, attempts: kind.attempts + 1 } : kind));
    } else if (retries.length < KINDS_AT_MOST) {
      retries = [...retries, { command: name, hostId, code, reason, attempts: 1 }];
    }
  }
  return retries === state.retries ? state : withFacts(state, { retries });
}
