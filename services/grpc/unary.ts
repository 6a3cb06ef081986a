import type {
  CallOptions,
  Client,
  handleUnaryCall,
  MethodDefinition,
  ServerUnaryCall,
  ServiceError,
} from "@grpc/grpc-js";
import type { GivenTrace } from "../../proto/trace-context.ts";
import type { Log } from "../log/log.ts";
import { type CallContext, logUnexpected, openCallContext } from "./call-context.ts";
import { fromGrpcError, toGrpcStatus } from "./status.ts";
import { metadataWith } from "./trace-metadata.ts";

/** A method as a function: what it throws becomes the call's status, see status.ts. */
export type UnaryHandler<Request, Response> = (request: Request, context: CallContext) => Promise<Response>;

/** The grpc-js form of a handler. `method` names it in the log. */
export function serveUnary<Request, Response>(
  method: string,
  log: Log,
  handler: UnaryHandler<Request, Response>,
): handleUnaryCall<Request, Response> {
  return (call: ServerUnaryCall<Request, Response>, callback) => {
    const context = openCallContext(call as ServerUnaryCall<unknown, unknown>);
    // The first `then` turns a handler's synchronous throw into a rejection too.
    Promise.resolve(call.request)
      .then((request) => handler(request, context))
      .then(
        (response) => callback(null, response),
        (thrown: unknown) => {
          logUnexpected(log, method, context, thrown);
          callback(toGrpcStatus(thrown));
        },
      );
  };
}

export interface UnaryCallOptions {
  /** Of the whole call, retries included. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Default: the call is in no trace. */
  readonly trace?: GivenTrace | undefined;
}

/**
 * Calls a method once (the channel retries by its own rules) and returns its response. Throws SwitchoverError: what
 * the called side threw, UNAVAILABLE where it is not reached, DEADLINE_EXCEEDED with the outcome unknown, CANCELLED
 * after `signal`.
 */
export function callUnary<Request, Response>(
  client: Client,
  method: MethodDefinition<Request, Response>,
  request: Request,
  options: UnaryCallOptions,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const callOptions: CallOptions = { deadline: Date.now() + options.timeoutMs };
    const call = client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      metadataWith(options.trace),
      callOptions,
      (error: ServiceError | null, response?: Response) => {
        options.signal?.removeEventListener("abort", cancel);
        if (error !== null) return reject(fromGrpcError(error));
        resolve(response as Response);
      },
    );
    const cancel = (): void => call.cancel();
    if (options.signal?.aborted) cancel();
    else options.signal?.addEventListener("abort", cancel, { once: true });
  });
}
