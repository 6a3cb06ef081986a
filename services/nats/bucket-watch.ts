import {
  DeliverPolicy,
  type JetStreamSubscription,
  type JsMsg,
  type KvEntry,
  type NatsConnection,
} from "nats";
import { countOf, subscribeInOrder, untilSilent } from "./ordered-messages.ts";

/** A value of a bucket as the client's KV gives it; `created` is when NATS stored it, by its clock. */
export type BucketEntry = Pick<
  KvEntry,
  "bucket" | "key" | "value" | "revision" | "operation" | "created" | "string"
>;

export interface BucketWatch {
  /** One key, or ">" for all. */
  readonly key: string;
  readonly signal: AbortSignal;
  /** Called once all that stood there has been brought. */
  readonly onCurrent: (() => void) | undefined;
}

/**
 * After two of these without a word the watch goes on by another consumer. In a cluster the server that has the consumer
 * may go while the connection, which goes to another one, stands; until then a watch hears of nothing. That is 1.5 s at
 * most for a whole bucket, which coordination hangs on.
 */
const WHOLE_BUCKET_HEARTBEAT_MS = 500;
const ONE_KEY_HEARTBEAT_MS = 1_000;

/** KV's word in the headers of a deletion (NATS ADR-8). */
const OPERATION_HEADER = "KV-Operation";

/**
 * The values of a bucket as they stand, then every newer one, in the order of revisions, until the signal; what was
 * overwritten meanwhile may be left out, what stands never is. Deleted values are left out. Throws the client's error
 * where the server refuses or does not answer.
 *
 * The client's own watch (KV.watch) notices a lost consumer after 10 to 15 s; its ordered consumer, given shorter
 * heartbeats, asks for a new one each time that one is missed, without end, and may then listen to none of them.
 */
export async function* watchBucket(
  connection: NatsConnection,
  bucket: string,
  { key, signal, onCurrent }: BucketWatch,
): AsyncGenerator<BucketEntry, void, undefined> {
  let heard = 0;
  let tell = onCurrent;
  while (!signal.aborted) {
    const messages = await subscribe(connection, bucket, key, heard);
    let toCome = tell === undefined ? Number.POSITIVE_INFINITY : await countOf(messages);
    const tellWhereCurrent = (pending: number): void => {
      // What is overwritten on its way never comes; and where values are written all the time, some are always pending.
      if (toCome > 0 && pending > 0) return;
      tell?.();
      tell = undefined;
    };
    tellWhereCurrent(toCome);
    for await (const message of untilSilent(connection, messages, signal)) {
      heard = message.seq;
      if ((message.headers?.get(OPERATION_HEADER) ?? "") === "") yield entryOf(message, bucket);
      toCome -= 1;
      tellWhereCurrent(message.info.pending);
    }
  }
}

/** A consumer of what has a higher revision than `heard`. */
function subscribe(
  connection: NatsConnection,
  bucket: string,
  key: string,
  heard: number,
): Promise<JetStreamSubscription> {
  return subscribeInOrder(connection, {
    stream: `KV_${bucket}`,
    subjects: `${prefixOf(bucket)}${key}`,
    start:
      heard === 0
        ? { deliver_policy: DeliverPolicy.LastPerSubject }
        : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: heard + 1 },
    heartbeatMs: key === ">" ? WHOLE_BUCKET_HEARTBEAT_MS : ONE_KEY_HEARTBEAT_MS,
  });
}

function entryOf(message: JsMsg, bucket: string): BucketEntry {
  return {
    bucket,
    key: message.subject.slice(prefixOf(bucket).length),
    value: message.data,
    revision: message.seq,
    operation: "PUT",
    created: new Date(message.info.timestampNanos / 1e6),
    string: () => message.string(),
  };
}

const prefixOf = (bucket: string): string => `$KV.${bucket}.`;
