import {
  AckPolicy,
  type ConsumerConfig,
  consumerOpts,
  createInbox,
  DeliverPolicy,
  type JetStreamSubscription,
  type JsMsg,
  type KvEntry,
  type NatsConnection,
  nanos,
} from "nats";
import { isSilence, JETSTREAM_TIMEOUT_MS } from "./fault.ts";

/** A value of a bucket as the client's KV gives it. */
export type BucketEntry = Pick<KvEntry, "bucket" | "key" | "value" | "revision" | "operation" | "string">;

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

/** JetStream's words in the headers of what it sends beside messages (NATS ADR-15), and KV's for a deletion (ADR-8). */
const HEARTBEAT_CODE = 100;
const LAST_DELIVERED_HEADER = "Nats-Last-Consumer";
const STALLED_HEADER = "Nats-Consumer-Stalled";
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

/** A consumer of what has a higher revision than `heard`. It ends by itself soon after nobody listens to it. */
function subscribe(
  connection: NatsConnection,
  bucket: string,
  key: string,
  heard: number,
): Promise<JetStreamSubscription> {
  const start: Partial<ConsumerConfig> =
    heard === 0
      ? { deliver_policy: DeliverPolicy.LastPerSubject }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: heard + 1 };
  const options = consumerOpts({
    ...start,
    ack_policy: AckPolicy.None,
    deliver_subject: createInbox(),
    filter_subject: `${prefixOf(bucket)}${key}`,
    flow_control: true,
    idle_heartbeat: nanos(key === ">" ? WHOLE_BUCKET_HEARTBEAT_MS : ONE_KEY_HEARTBEAT_MS),
    max_deliver: 1,
    mem_storage: true,
    num_replicas: 1,
  });
  options.bindStream(`KV_${bucket}`);
  return connection
    .jetstream({ timeout: JETSTREAM_TIMEOUT_MS })
    .subscribe(`${prefixOf(bucket)}${key}`, options);
}

/** How many values are to come until all that stood there has; a few more where they are written now. */
async function countOf(messages: JetStreamSubscription): Promise<number> {
  try {
    const { num_pending, delivered } = await messages.consumerInfo();
    return num_pending + delivered.consumer_seq;
  } catch (thrown) {
    messages.unsubscribe();
    throw thrown;
  }
}

/** What the consumer sends, until the signal, or until it falls silent or something of it was lost on the way. */
async function* untilSilent(
  connection: NatsConnection,
  messages: JetStreamSubscription,
  signal: AbortSignal,
): AsyncGenerator<JsMsg, void, undefined> {
  const stop = (): void => messages.unsubscribe();
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  let delivered = 0;
  try {
    for await (const message of messages) {
      if (message.headers?.code === HEARTBEAT_CODE) {
        const stalled = message.headers.get(STALLED_HEADER);
        if (stalled !== "") connection.publish(stalled);
        if (Number(message.headers.get(LAST_DELIVERED_HEADER)) !== delivered) return;
        continue;
      }
      if (message.info.deliverySequence !== delivered + 1) return;
      delivered += 1;
      yield message;
    }
  } catch (thrown) {
    if (!isSilence(thrown)) throw thrown;
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}

function entryOf(message: JsMsg, bucket: string): BucketEntry {
  return {
    bucket,
    key: message.subject.slice(prefixOf(bucket).length),
    value: message.data,
    revision: message.seq,
    operation: "PUT",
    string: () => message.string(),
  };
}

const prefixOf = (bucket: string): string => `$KV.${bucket}.`;
