import { Metadata } from "@grpc/grpc-js";
import { type GivenTrace, parseTrace } from "../../proto/trace-context.ts";

/** W3C Trace Context's keys in the metadata of calls. */
const TRACEPARENT = "traceparent";
const TRACESTATE = "tracestate";

/**
 * The trace that the caller says it is in; undefined where it gave no traceparent, several, or a malformed one. Several
 * tracestates are one list; one that is malformed or too long is left out.
 */
export function callerTraceIn(metadata: Metadata): GivenTrace | undefined {
  const [traceparent, another] = metadata.get(TRACEPARENT);
  if (typeof traceparent !== "string" || another !== undefined) return undefined;
  const states = metadata.get(TRACESTATE);
  return parseTrace(traceparent, states.length === 0 ? undefined : states.map(String).join(","));
}

/** The metadata of a call in that trace, or in none. */
export function metadataWith(trace: GivenTrace | undefined): Metadata {
  const metadata = new Metadata();
  if (trace === undefined) return metadata;
  metadata.set(TRACEPARENT, trace.traceparent);
  if (trace.tracestate !== undefined) metadata.set(TRACESTATE, trace.tracestate);
  return metadata;
}
