import { headers, type MsgHdrs } from "nats";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestId, MigrationId } from "../../proto/ids.ts";
import { feedTopicToken } from "../../proto/subjects.ts";
import { traceOfMigration } from "../../proto/trace-context.ts";

/** Before the name of the event's member in the body: `org.switchover.v1.phaseChanged`. */
export const CLOUD_EVENT_TYPE_PREFIX = "org.switchover.v1.";
/** Of an event that only a later version than this one knows. */
const UNKNOWN_EVENT = "unspecified";
/** What the CloudEvents binding has percent-encoded: space, quote, percent, and all but printable ASCII. */
const ENCODED = /[^\x21\x23\x24\x26-\x7e]/gu;

/**
 * The headers of a feed message: CloudEvents 1.0 in the NATS binding's binary mode, whose data is the body as it is, and
 * its distributed-tracing extension, besides under W3C's own names `traceparent` and `tracestate`. Made of the event and its message's id
 * alone, so that an event that is sent again has the same ones. What is said of no migration is in no trace.
 *
 * There is no Content-Type: in this binding that tells structured mode from binary.
 */
export function cloudEventHeaders(event: FeedEvent, messageId: string): MsgHdrs {
  const attributes = headers();
  const set = (name: string, value: string): void => attributes.set(name, encoded(value));
  set("ce-specversion", "1.0");
  set("ce-id", messageId);
  set("ce-source", sourceOf(event));
  set("ce-type", `${CLOUD_EVENT_TYPE_PREFIX}${event.event?.$case ?? UNKNOWN_EVENT}`);
  set("ce-subject", subjectOf(event));
  set("ce-time", timeOf(event.atUnixUs));
  set("ce-datacontenttype", "application/json");
  if (event.migrationId === "") return attributes;
  const { traceparent, tracestate } = traceOfMigration(event.migrationId, event);
  set("ce-traceparent", traceparent);
  set("traceparent", traceparent);
  if (tracestate !== undefined) {
    set("ce-tracestate", tracestate);
    // Printable ASCII, and by W3C's rules as it came.
    attributes.set("tracestate", tracestate);
  }
  return attributes;
}

/** All coordinators are one source: they number a migration's phases together. */
function sourceOf({ hostId }: FeedEvent): string {
  return hostId === "" ? "/switchover/coordinator" : `/switchover/host/${hostId}`;
}

/** What it is about, as in the NATS subject. */
function subjectOf({ guestId, migrationId }: FeedEvent): string {
  return migrationId === ""
    ? feedTopicToken({ t: "guest", guestId: guestId as GuestId })
    : feedTopicToken({ t: "migration", migrationId: migrationId as MigrationId });
}

/** RFC 3339, to the microsecond. */
function timeOf(atUnixUs: bigint): string {
  const toTheMs = new Date(Number(atUnixUs / 1_000n)).toISOString();
  return toTheMs.replace("Z", `${String(atUnixUs % 1_000n).padStart(3, "0")}Z`);
}

function encoded(value: string): string {
  const percent = (byte: number): string => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  return value.replace(ENCODED, (character) => [...Buffer.from(character)].map(percent).join(""));
}
