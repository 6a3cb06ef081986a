import type { Metadata, ServerUnaryCall, ServerWritableStream } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log/log.ts";
import { callerOf } from "../tls/admit-call.ts";
import { uriOf } from "../tls/identity.ts";

/** What a handler may know about the call besides its request. */
export interface CallContext {
  /** Aborts when the caller cancels, its deadline passes or its connection ends. */
  readonly signal: AbortSignal;
  readonly metadata: Metadata;
  /** Address of the caller, as gRPC writes it. */
  readonly peer: string;
  /** The URI of the caller's certificate; empty for plain text. */
  readonly identity: string;
  /** When the caller stops waiting. Milliseconds, Unix; Infinity where it set no deadline. */
  readonly deadlineUnixMs: number;
}

type ServerCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown>;

/** The context of a call that grpc-js hands to a server. */
export function openCallContext(call: ServerCall): CallContext {
  const abort = new AbortController();
  call.once("cancelled", () => {
    abort.abort(
      new SwitchoverError("CANCELLED", "The caller no longer waits for an answer.", {
        reason: "CALLER_GONE",
      }),
    );
  });
  const deadline = call.getDeadline();
  const caller = callerOf(call);
  return {
    signal: abort.signal,
    metadata: call.metadata,
    peer: call.getPeer(),
    identity: caller === undefined ? "" : uriOf(caller),
    deadlineUnixMs: deadline instanceof Date ? deadline.getTime() : deadline,
  };
}

/** Writes down what the caller is told only as a fixed sentence; what a caller's own leaving caused is no fault. */
export function logUnexpected(log: Log, method: string, context: CallContext, thrown: unknown): void {
  if (context.signal.aborted || (thrown instanceof SwitchoverError && thrown.code !== "INTERNAL")) return;
  log.error({ grpc_method: method, grpc_peer: context.peer, err: thrown }, `${method} failed unexpectedly.`);
}
