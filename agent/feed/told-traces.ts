/** In an event's JSON; a text's own quotes have a backslash before them. */
const NAMES_A_TRACE = /^\{"migrationId":"([^"]+)".*"traceparent":"([^"]+)"/s;

/** Which trace an event that a predecessor spooled (proto3 JSON) says that its migration is in; null where it says none. */
export function traceIn(body: string): { readonly migrationId: string; readonly traceparent: string } | null {
  const [, migrationId, traceparent] = NAMES_A_TRACE.exec(body) ?? [];
  return migrationId === undefined || traceparent === undefined ? null : { migrationId, traceparent };
}
