import type {
  handleServerStreamingCall,
  handleUnaryCall,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  sendUnaryData,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log/log.ts";
import { CallLane } from "./call-lane.ts";
import type { CallLimits } from "./limits.ts";
import { toGrpcStatus } from "./status.ts";

type Unary = handleUnaryCall<unknown, unknown>;
type Streaming = handleServerStreamingCall<unknown, unknown>;

/**
 * The implementation with a lane for each of its methods. A unary call keeps its place until its handler is through,
 * also where the caller has left, so that those who leave and ask again pile up no work; one that waits and whose caller
 * leaves, or whose deadline passes, is never begun. Streams do not wait.
 */
export function limitCalls(
  definition: ServiceDefinition,
  implementation: UntypedServiceImplementation,
  limits: CallLimits,
  log: Log,
): UntypedServiceImplementation {
  const limited = Object.entries(definition).map(([name, { path, responseStream }]) => {
    const handler = implementation[name];
    const { running, waiting, streams } = limits;
    const lane = new CallLane(path, responseStream ? { running: streams, waiting: 0 } : { running, waiting });
    const refuse = refusal(path, log);
    const wrapped = responseStream
      ? limitStreams(handler as Streaming, lane, refuse)
      : limitUnary(handler as Unary, lane, refuse);
    return [name, wrapped] as const;
  });
  return Object.fromEntries(limited);
}

type Refusal = (thrown: unknown) => ReturnType<typeof toGrpcStatus>;

function limitUnary(handler: Unary, lane: CallLane, refuse: Refusal): Unary {
  return (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) => {
    const begin = (): void => {
      handler(call, (...answer) => {
        lane.leave();
        callback(...answer);
      });
    };
    try {
      call.once("cancelled", lane.enter(begin));
    } catch (thrown) {
      callback(refuse(thrown));
    }
  };
}

function limitStreams(handler: Streaming, lane: CallLane, refuse: Refusal): Streaming {
  return (call: ServerWritableStream<unknown, unknown>) => {
    const begin = (): void => {
      call.once("close", () => lane.leave());
      handler(call);
    };
    try {
      lane.enter(begin);
    } catch (thrown) {
      call.emit("error", refuse(thrown));
    }
  };
}

/** Told in the log at first, and then each time that as many were refused again. */
function refusal(method: string, log: Log): Refusal {
  let refused = 0;
  return (thrown) => {
    refused += 1;
    if (Number.isInteger(Math.log2(refused))) {
      const { message } = SwitchoverError.from(thrown);
      log.warn({ grpc_method: method, refused }, `Calls are refused: ${message}`);
    }
    return toGrpcStatus(thrown);
  };
}
