import { Metadata } from "@grpc/grpc-js";
import { parseTraceparent } from "../../proto/trace-context.ts";

/** W3C Trace Context's key in the metadata of calls. */
const TRACEPARENT = "traceparent";

/** The caller's traceparent; undefined where it gave none, several, or a malformed one. */
export function traceparentIn(metadata: Metadata): string | undefined {
  const [given, another] = metadata.get(TRACEPARENT);
  if (typeof given !== "string" || another !== undefined) return undefined;
  return parseTraceparent(given) === null ? undefined : given;
}

/** The metadata of a call in that trace, or in none. */
export function metadataWith(traceparent: string | undefined): Metadata {
  const metadata = new Metadata();
  if (traceparent !== undefined) metadata.set(TRACEPARENT, traceparent);
  return metadata;
}
