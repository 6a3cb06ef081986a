/**
 * The one error family of Switchover: everything that is thrown on purpose is a SwitchoverError.
 *
 * A code says how a caller reacts (the gRPC canonical codes), a reason says what happened in a word that
 * scripts can compare, a sentence says it to a person, and a field names the part of the input at fault.
 */
export type ErrorCode =
  | "CANCELLED"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "PERMISSION_DENIED"
  | "UNAUTHENTICATED";

export interface ErrorDetail {
  /** UPPER_SNAKE_CASE, stable across releases: the ErrorInfo reason on the wire. */
  readonly reason: string;
  /** Path of the input at fault, as the proto names it (`nics[0].mac_address`). */
  readonly field?: string;
  /** Facts for the reader: names, numbers, kernel texts. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** When it is worth asking again, where that is known: google.rpc.RetryInfo on the wire. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

export class SwitchoverError extends Error {
  override readonly name = "SwitchoverError";
  readonly code: ErrorCode;
  readonly reason: string;
  readonly field: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, sentence: string, detail: ErrorDetail) {
    super(sentence, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.reason = detail.reason;
    this.field = detail.field;
    this.metadata = detail.metadata ?? {};
    this.retryAfterMs = detail.retryAfterMs;
  }

  /** Returns a SwitchoverError unchanged and wraps anything else as INTERNAL with the original as its cause. */
  static from(thrown: unknown): SwitchoverError {
    if (thrown instanceof SwitchoverError) return thrown;
    const sentence = thrown instanceof Error ? thrown.message : String(thrown);
    return new SwitchoverError("INTERNAL", sentence, { reason: "UNEXPECTED", cause: thrown });
  }
}

/** The error for input that can never be right, whatever the state of the system: nothing was changed. */
export function invalidArgument(field: string, sentence: string, reason = "MALFORMED"): SwitchoverError {
  return new SwitchoverError("INVALID_ARGUMENT", sentence, { reason, field });
}

/** For a number of an enum that says nothing here: none was given (REQUIRED), or one that this release does not know. */
export function unknownEnum(field: string, value: number, sentence: string): SwitchoverError {
  return invalidArgument(field, sentence, value === 0 ? "REQUIRED" : "UNKNOWN_VALUE");
}
