import { ErrorCode, NatsError } from "nats";
import { SwitchoverError } from "../../proto/error.ts";

/** JetStream's own numbers of what the ports must tell apart (err_code of its answers). */
const WRONG_LAST_SEQUENCE = 10071;
const NAME_IN_USE = 10058;

/** JetStream's header for the id of a message. */
export const MESSAGE_ID_HEADER = "Nats-Msg-Id";

/** JetStream answers within this or is taken for away; what was asked may have been done all the same. */
export const JETSTREAM_TIMEOUT_MS = 1_000;

function apiErrorOf(thrown: unknown): NatsError["api_error"] {
  return thrown instanceof NatsError ? thrown.api_error : undefined;
}

/** A compare-and-set met another value than it was told to expect. */
export function isConflict(thrown: unknown): boolean {
  return apiErrorOf(thrown)?.err_code === WRONG_LAST_SEQUENCE;
}

export function isNotFound(thrown: unknown): boolean {
  return apiErrorOf(thrown)?.code === 404 || (thrown instanceof NatsError && thrown.code === "404");
}

export function isNameInUse(thrown: unknown): boolean {
  return apiErrorOf(thrown)?.err_code === NAME_IN_USE;
}

/** A consumer's server sends nothing any more, not even heartbeats. */
export function isSilence(thrown: unknown): boolean {
  return thrown instanceof NatsError && thrown.code === ErrorCode.JetStreamIdleHeartBeat;
}

/** No repetition makes it succeed: the message itself is at fault. */
export function isHopeless(thrown: unknown): boolean {
  if (!(thrown instanceof NatsError)) return !(thrown instanceof SwitchoverError);
  return thrown.code === ErrorCode.MaxPayloadExceeded || thrown.code === ErrorCode.BadSubject;
}

/** The link has tried anew by then. */
const RECONNECTED_WITHIN_MS = 2_000;

/** Nothing was asked of NATS, for it was never reached. */
export function natsUnreachable(what: string): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", `${what}: NATS has not been reached.`, {
    reason: "NATS_UNREACHABLE",
    retryAfterMs: RECONNECTED_WITHIN_MS,
  });
}

/**
 * What the client library threw, in Switchover's words: UNAVAILABLE / NATS_UNREACHABLE where nothing was done,
 * UNAVAILABLE / OUTCOME_UNKNOWN where it may have been, INTERNAL / NATS_REFUSED for any other answer.
 */
export function natsFault(thrown: unknown, what: string): SwitchoverError {
  if (thrown instanceof SwitchoverError) return thrown;
  const detail = thrown instanceof Error ? thrown.message : String(thrown);
  if (thrown instanceof NatsError) {
    if (thrown.code === ErrorCode.NoResponders || thrown.code === ErrorCode.ConnectionClosed) {
      const sentence = `${what}: JetStream does not answer.`;
      const unreachable = { reason: "NATS_UNREACHABLE", retryAfterMs: RECONNECTED_WITHIN_MS, cause: thrown };
      return new SwitchoverError("UNAVAILABLE", sentence, unreachable);
    }
    if (thrown.code === ErrorCode.Timeout || thrown.code === ErrorCode.Disconnect) {
      const sentence = `${what}: JetStream did not answer within ${JETSTREAM_TIMEOUT_MS} ms; the outcome is unknown.`;
      return new SwitchoverError("UNAVAILABLE", sentence, { reason: "OUTCOME_UNKNOWN", cause: thrown });
    }
  }
  return new SwitchoverError("INTERNAL", `${what}: ${detail}.`, { reason: "NATS_REFUSED", cause: thrown });
}
