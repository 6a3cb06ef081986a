import { once } from "node:events";
import {
  type Client,
  type handleServerStreamingCall,
  Metadata,
  type MethodDefinition,
  type ServerWritableStream,
  type ServiceError,
} from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import type { GivenTrace } from "../../proto/trace-context.ts";
import type { Log } from "../log/log.ts";
import { type CallContext, logUnexpected, openCallContext } from "./call-context.ts";
import { fromGrpcError, toGrpcStatus } from "./status.ts";
import { metadataWith } from "./trace-metadata.ts";

/** A streaming method as a function. The iterable must end when `context.signal` aborts. */
export type ServerStreamHandler<Request, Response> = (
  request: Request,
  context: CallContext,
) => AsyncIterable<Response>;

/**
 * The grpc-js form of a handler. A response is asked of the iterable only when the caller's window has room for it;
 * a caller that left ends the iterable (`return`). When `ending` aborts, open streams end with UNAVAILABLE /
 * SHUTTING_DOWN, so that callers open them again elsewhere.
 */
export function serveServerStream<Request, Response>(
  method: string,
  log: Log,
  ending: AbortSignal,
  handler: ServerStreamHandler<Request, Response>,
): handleServerStreamingCall<Request, Response> {
  return (call: ServerWritableStream<Request, Response>) => {
    const caller = openCallContext(call as ServerWritableStream<unknown, unknown>);
    const context = { ...caller, signal: AbortSignal.any([caller.signal, ending]) };
    pump(call, context, handler)
      .catch((thrown: unknown) => {
        // What the abort itself made the handler throw is told below.
        if (!context.signal.aborted) throw thrown;
      })
      .then(() => {
        if (ending.aborted) throw shuttingDown();
        call.end();
      })
      .catch((thrown: unknown) => {
        logUnexpected(log, method, caller, thrown);
        call.emit("error", toGrpcStatus(thrown));
      });
  };
}

function shuttingDown(): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", "This program is shutting down.", { reason: "SHUTTING_DOWN" });
}

async function pump<Request, Response>(
  call: ServerWritableStream<Request, Response>,
  context: CallContext,
  handler: ServerStreamHandler<Request, Response>,
): Promise<void> {
  // Before there is anything to say: the caller is to know that it was reached.
  call.sendMetadata(new Metadata());
  for await (const response of handler(call.request, context)) {
    if (context.signal.aborted) return;
    if (!call.write(response)) await once(call, "drain", { signal: context.signal });
  }
}

export interface ServerStreamCallOptions {
  /** Ends the stream; the iterable then throws CANCELLED. */
  readonly signal?: AbortSignal;
  /** UNAVAILABLE / NOT_REACHED where the server has not taken the call by then; default: however long connecting takes. */
  readonly reachedWithinMs?: number;
  /** Default: the call is in no trace. */
  readonly trace?: GivenTrace | undefined;
}

/**
 * Opens the stream when the first response is asked for and reads ahead no further than gRPC's window. Leaving the
 * loop ends the call. Throws SwitchoverError as callUnary does; a connection that dies is UNAVAILABLE, noticed by
 * keepalive. Never retried: the caller knows from where to go on.
 */
export async function* callServerStream<Request, Response>(
  client: Client,
  method: MethodDefinition<Request, Response>,
  request: Request,
  options: ServerStreamCallOptions = {},
): AsyncGenerator<Response, void, undefined> {
  const call = client.makeServerStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    request,
    metadataWith(options.trace),
  );
  const cancel = (): void => call.cancel();
  // Cancelling after the loop was left emits a last error, which nobody else listens to then.
  call.on("error", () => {});
  if (options.signal?.aborted) cancel();
  else options.signal?.addEventListener("abort", cancel, { once: true });
  const { reachedWithinMs } = options;
  const givenUp = new AbortController();
  givenUp.signal.addEventListener("abort", cancel, { once: true });
  let reached: "not yet" | "reached" = "not yet";
  // A loop that stood still serves its timers before it reads what has come meanwhile: that is read first. Else a busy
  // program gives up streams that stand, opens them again, and is busier for it.
  const judge = (): void => {
    setImmediate(() => {
      if (reached === "not yet") givenUp.abort();
    });
  };
  const timer = reachedWithinMs === undefined ? undefined : setTimeout(judge, reachedWithinMs);
  call.once("metadata", () => {
    reached = "reached";
    clearTimeout(timer);
  });
  try {
    for await (const response of call) yield response as Response;
  } catch (thrown) {
    throw givenUp.signal.aborted ? notReached(reachedWithinMs) : fromGrpcError(thrown as ServiceError);
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", cancel);
    cancel();
  }
}

function notReached(withinMs: number | undefined): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", `The server did not take the call within ${withinMs} ms.`, {
    reason: "NOT_REACHED",
  });
}
