import { Metadata, type ServiceError, type StatusObject, status } from "@grpc/grpc-js";
import { type ErrorCode, type ErrorDetail, SwitchoverError } from "../../proto/error.ts";
import type { Duration } from "../../proto/gen/google/protobuf/duration.ts";
import { BadRequest, ErrorInfo, RetryInfo } from "../../proto/gen/google/rpc/error_details.ts";
import { Status } from "../../proto/gen/google/rpc/status.ts";

/**
 * How a SwitchoverError crosses the wire and comes back equal.
 *
 * The code is gRPC's, the sentence its message; reason and metadata travel as google.rpc.ErrorInfo, the field as
 * google.rpc.BadRequest and a known delay as google.rpc.RetryInfo, in a google.rpc.Status under
 * `grpc-status-details-bin`, which every gRPC toolchain reads. What grpc-js itself refuses (an unknown method, a message
 * that is too large or not one, a deadline that passed) has a code and a sentence only.
 */
const DETAILS_KEY = "grpc-status-details-bin";
const DOMAIN = "switchover";
const ERROR_INFO_URL = "type.googleapis.com/google.rpc.ErrorInfo";
const BAD_REQUEST_URL = "type.googleapis.com/google.rpc.BadRequest";
const RETRY_INFO_URL = "type.googleapis.com/google.rpc.RetryInfo";
/** Details travel in a header; beyond this a peer's header limit (8 KiB by default) would hide the whole error. */
const DETAILS_LIMIT_BYTES = 4096;
const SENTENCE_LIMIT = 1024;
/** In gRPC's percent encoding, in which a character takes nine bytes at most. */
const ENCODED_SENTENCE_LIMIT = 1530;

/** What a caller is told about a fault that nobody foresaw; the log of the program has the rest. */
export const UNEXPECTED_SENTENCE =
  "Something unexpected went wrong; the log of the called program says what.";

/** The status that tells a caller what was thrown; anything but a SwitchoverError becomes a fixed public sentence. */
export function toGrpcStatus(thrown: unknown): StatusObject {
  const error =
    thrown instanceof SwitchoverError
      ? thrown
      : new SwitchoverError("INTERNAL", UNEXPECTED_SENTENCE, { reason: "UNEXPECTED" });
  const code = status[error.code];
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, encodeDetails(error, code));
  return { code, details: sentenceOf(error), metadata };
}

/** A half of a surrogate pair, which cutting a caller's text may leave, is no text: gRPC could not send it. */
function sentenceOf(error: SwitchoverError): string {
  const cut = (limit: number) => error.message.slice(0, limit).replace(/[\ud800-\udfff]/gu, "\ufffd");
  const sentence = cut(SENTENCE_LIMIT);
  return encodeURI(sentence).length <= ENCODED_SENTENCE_LIMIT ? sentence : cut(ENCODED_SENTENCE_LIMIT / 9);
}

function encodeDetails(error: SwitchoverError, code: number): Buffer {
  const whole = encodeStatus(error, code, error.metadata);
  return whole.length <= DETAILS_LIMIT_BYTES ? whole : encodeStatus(error, code, {});
}

function encodeStatus(
  error: SwitchoverError,
  code: number,
  metadata: Readonly<Record<string, string>>,
): Buffer {
  const info = ErrorInfo.encode({ reason: error.reason, domain: DOMAIN, metadata }).finish();
  const details = [{ typeUrl: ERROR_INFO_URL, value: Buffer.from(info) }];
  const message = sentenceOf(error);
  if (error.field !== undefined) {
    const violation = { field: error.field, description: message };
    const badRequest = BadRequest.encode({ fieldViolations: [violation] }).finish();
    details.push({ typeUrl: BAD_REQUEST_URL, value: Buffer.from(badRequest) });
  }
  if (error.retryAfterMs !== undefined) {
    const retryInfo = RetryInfo.encode({ retryDelay: durationOf(error.retryAfterMs) }).finish();
    details.push({ typeUrl: RETRY_INFO_URL, value: Buffer.from(retryInfo) });
  }
  return Buffer.from(Status.encode({ code, message, details }).finish());
}

function durationOf(ms: number): Duration {
  const wholeMs = Math.round(ms);
  return { seconds: BigInt(Math.floor(wholeMs / 1_000)), nanos: (wholeMs % 1_000) * 1_000_000 };
}

/**
 * The error that the called side threw. Where the status carries no details (the connection failed, a deadline
 * passed, another implementation answered) the reason is gRPC's own name of the code, `GRPC_` before it.
 */
export function fromGrpcError(error: ServiceError): SwitchoverError {
  const name = status[error.code] ?? "UNKNOWN";
  const code = CODES.has(name) ? (name as ErrorCode) : "INTERNAL";
  const detail = decodeDetails(error.metadata?.get(DETAILS_KEY)[0]);
  if (code === "INTERNAL" && detail.reason === undefined && STREAM_RESET.test(error.details)) {
    return new SwitchoverError(
      "UNAVAILABLE",
      `The called side ended the call without a word: ${error.details}.`,
      {
        reason: "GRPC_STREAM_RESET",
        cause: error,
      },
    );
  }
  const sentence = error.details === "" ? `The call ended with ${name}.` : withoutEmptyNote(error.details);
  return new SwitchoverError(code, sentence, { reason: `GRPC_${name}`, ...detail, cause: error });
}

/** grpc-js says INTERNAL of a stream that was reset: nobody knows what was done, as where the connection breaks. */
const STREAM_RESET = /^Received RST_STREAM/;

/** grpc-js ends what it says of a connection with a note of its resolver, which mostly has none. */
function withoutEmptyNote(details: string): string {
  return details.replace(/ Resolution note: $/, "");
}

const CODES: ReadonlySet<string> = new Set<ErrorCode>([
  "CANCELLED",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "PERMISSION_DENIED",
  "UNAUTHENTICATED",
]);

function decodeDetails(header: string | Buffer | undefined): Partial<ErrorDetail> {
  if (!(header instanceof Buffer)) return {};
  try {
    return collectDetails(Status.decode(header));
  } catch {
    // Malformed details of another implementation: code and sentence still tell the caller what to do.
    return {};
  }
}

function collectDetails(decoded: Status): Partial<ErrorDetail> {
  const bytesOf = (url: string) => decoded.details.find(({ typeUrl }) => typeUrl === url)?.value;
  const [info, badRequest, retryInfo] = [ERROR_INFO_URL, BAD_REQUEST_URL, RETRY_INFO_URL].map(bytesOf);
  const field =
    badRequest === undefined ? undefined : BadRequest.decode(badRequest).fieldViolations[0]?.field;
  const { reason, metadata } = info === undefined ? {} : ErrorInfo.decode(info);
  const delay = retryInfo === undefined ? undefined : RetryInfo.decode(retryInfo).retryDelay;
  return {
    ...(reason === undefined ? {} : { reason }),
    ...(metadata === undefined ? {} : { metadata }),
    ...(field === undefined ? {} : { field }),
    ...(delay === undefined ? {} : { retryAfterMs: Number(delay.seconds) * 1_000 + delay.nanos / 1_000_000 }),
  };
}
