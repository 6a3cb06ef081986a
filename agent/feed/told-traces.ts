import type { GivenTrace } from "../../proto/trace-context.ts";

/** In an event's JSON; a text's own quotes have a backslash before them. */
const NAMES_A_TRACE =
  /^\{"migrationId":"([^"]+)".*"traceparent":"([^"]+)"(?:.*"tracestate":"((?:[^"\\]|\\.)+)")?/s;

/** Which trace an event that a predecessor spooled (proto3 JSON) says that its migration is in; null where it says none. */
export function traceIn(body: string): (GivenTrace & { readonly migrationId: string }) | null {
  const [, migrationId, traceparent, escaped] = NAMES_A_TRACE.exec(body) ?? [];
  if (migrationId === undefined || traceparent === undefined) return null;
  const tracestate = escaped === undefined ? undefined : (JSON.parse(`"${escaped}"`) as string);
  return { migrationId, traceparent, tracestate };
}
