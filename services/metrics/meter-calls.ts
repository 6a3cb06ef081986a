import type { CallClock, CallMeter } from "../grpc/call-meter.ts";
import type { Metrics } from "./metrics.ts";
import { meterOperations } from "./operations.ts";

/** CallMeter: the gRPC calls that a program answers, by method. */
export function meterCalls(metrics: Metrics): CallMeter {
  const labels = ["grpc_method"];
  const lanes: { readonly method: string; running(): number; waiting(): number }[] = [];
  const ended = metrics.tally({
    name: "switchover_grpc_calls_total",
    help: "Calls that ended, streams too, by method and gRPC status code.",
    labels: ["grpc_method", "grpc_code"],
  });
  const refused = metrics.tally({
    name: "switchover_grpc_refusals_total",
    help: "Calls that ended with an error, by its reason (docs/errors.md); not those whose callers left.",
    labels: ["reason"],
  });
  const lasted = metrics.timing({
    name: "switchover_grpc_call_seconds",
    help: "Unary calls, from their arrival to their answer, waiting for their turn included.",
    labels,
  });
  metrics.gauge(
    {
      name: "switchover_grpc_running_calls",
      help: "Unary calls that run, and streams that are open.",
      labels,
    },
    () => lanes.map((lane) => ({ texts: [lane.method], value: lane.running() })),
  );
  metrics.gauge(
    { name: "switchover_grpc_waiting_calls", help: "Unary calls that wait for their turn.", labels },
    () => lanes.map((lane) => ({ texts: [lane.method], value: lane.waiting() })),
  );
  return {
    method: (method, lane) => {
      lanes.push({ method, ...lane });
      return {
        ended: (code, reason) => {
          ended.count(method, code);
          if (code !== "OK" && code !== "CANCELLED") refused.count(reason);
        },
        answered: (arrivedMs) => lasted.at(method).recordSince(arrivedMs),
      };
    },
  };
}

/** CallClock: the calls that a coordinator makes of agents, by method. */
export function meterAgentCalls(metrics: Metrics): CallClock {
  const { of } = meterOperations(metrics, {
    label: "grpc_method",
    took: {
      name: "switchover_coordinator_agent_call_seconds",
      help: "Calls of agents, by method, whatever came of them.",
    },
    failed: {
      name: "switchover_coordinator_agent_call_failures_total",
      help: "Calls of agents that failed, by method and reason.",
    },
  });
  return { time: (method, call) => of(method).time(call) };
}
