import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type ServiceError,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log/log.ts";
import { ADMIT_ALL, type AdmitCall } from "../tls/admit-call.ts";
import { CallLane } from "./call-lane.ts";
import { type CallMeter, type MethodMeter, NO_CALL_METER } from "./call-meter.ts";
import type { CallLimits } from "./limits.ts";
import { fromGrpcError, toGrpcStatus } from "./status.ts";

type Unary = handleUnaryCall<unknown, unknown>;
type Streaming = handleServerStreamingCall<unknown, unknown>;

/**
 * The implementation with a lane for each of its methods. A unary call keeps its place until its handler is through,
 * also where the caller has left, so that those who leave and ask again pile up no work; one that waits and whose caller
 * leaves, or whose deadline passes, is never begun. Streams do not wait. `meter` is told of each call as its caller sees it
 * end. A call that `admitting` does not let in takes no place.
 */
export function limitCalls(
  definition: ServiceDefinition,
  implementation: UntypedServiceImplementation,
  limits: CallLimits,
  log: Log,
  meter: CallMeter = NO_CALL_METER,
  admitting: (method: string) => AdmitCall = ADMIT_ALL,
): UntypedServiceImplementation {
  const limited = Object.entries(definition).map(([name, { path, responseStream }]) => {
    const handler = implementation[name];
    const { running, waiting, streams } = limits;
    const lane = new CallLane(path, responseStream ? { running: streams, waiting: 0 } : { running, waiting });
    const refuse = refusal(path, log);
    const counts = { running: () => lane.running, waiting: () => lane.waiting };
    const metered = meter.method(path.split("/").at(-1) ?? "", counts);
    const door = { admit: admitting(name), lane, refuse };
    const wrapped = responseStream
      ? limitStreams(handler as Streaming, door, metered)
      : limitUnary(handler as Unary, door, metered);
    return [name, wrapped] as const;
  });
  return Object.fromEntries(limited);
}

type Refusal = (thrown: unknown) => ReturnType<typeof toGrpcStatus>;

/** What stands before a method. */
interface Door {
  readonly admit: AdmitCall;
  readonly lane: CallLane;
  readonly refuse: Refusal;
}

function limitUnary(handler: Unary, { admit, lane, refuse }: Door, meter: MethodMeter): Unary {
  return (call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>) => {
    const arrivedMs = performance.now();
    let fate: "open" | "ended" = "open";
    const end = (error: unknown): void => {
      if (fate === "ended") return;
      fate = "ended";
      meter.answered(arrivedMs);
      tellEnd(meter, error);
    };
    const begin = (): void => {
      handler(call, (...answer) => {
        lane.leave();
        callback(...answer);
        end(answer[0]);
      });
    };
    try {
      admit(call);
      const leaveQueue = lane.enter(begin);
      call.once("cancelled", () => {
        leaveQueue();
        end(CALLER_LEFT);
      });
    } catch (thrown) {
      const refused = refuse(thrown);
      callback(refused);
      end(refused);
    }
  };
}

const CALLER_LEFT = toGrpcStatus(
  new SwitchoverError("CANCELLED", "The caller no longer waits for an answer.", { reason: "CALLER_GONE" }),
);

function tellEnd(meter: MethodMeter, error: unknown): void {
  if (error === null || error === undefined) {
    meter.ended("OK", "");
    return;
  }
  const { code = status.UNKNOWN } = error as Partial<ServiceError>;
  meter.ended(status[code] ?? "UNKNOWN", fromGrpcError(error as ServiceError).reason);
}

function limitStreams(handler: Streaming, { admit, lane, refuse }: Door, meter: MethodMeter): Streaming {
  return (call: ServerWritableStream<unknown, unknown>) => {
    let ended: unknown = null;
    call.once("cancelled", () => {
      ended ??= CALLER_LEFT;
    });
    call.once("error", (error) => {
      ended = error;
    });
    call.once("close", () => tellEnd(meter, ended));
    const begin = (): void => {
      call.once("close", () => lane.leave());
      handler(call);
    };
    try {
      admit(call);
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
    const { code, message } = SwitchoverError.from(thrown);
    if (code === "RESOURCE_EXHAUSTED") refused += 1;
    // Whoever was not let in is in the log already.
    if (code === "RESOURCE_EXHAUSTED" && Number.isInteger(Math.log2(refused))) {
      log.warn({ grpc_method: method, refused }, `Calls are refused: ${message}`);
    }
    return toGrpcStatus(thrown);
  };
}
