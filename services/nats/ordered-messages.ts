import {
  AckPolicy,
  type ConsumerConfig,
  consumerOpts,
  createInbox,
  type JetStreamSubscription,
  type JsMsg,
  type NatsConnection,
  nanos,
} from "nats";
import { isSilence, JETSTREAM_TIMEOUT_MS } from "./fault.ts";

/** JetStream's words in the headers of what it sends beside messages (NATS ADR-15). */
const HEARTBEAT_CODE = 100;
const LAST_DELIVERED_HEADER = "Nats-Last-Consumer";
const STALLED_HEADER = "Nats-Consumer-Stalled";

export interface OrderedConsumer {
  readonly stream: string;
  readonly subjects: string;
  readonly start: Pick<ConsumerConfig, "deliver_policy"> & Partial<ConsumerConfig>;
  /** After two of these without a word the consumer counts as lost. */
  readonly heartbeatMs: number;
}

/** A consumer that writes nothing and that nobody has to remove: it ends by itself soon after nobody listens to it. */
export function subscribeInOrder(
  connection: NatsConnection,
  { stream, subjects, start, heartbeatMs }: OrderedConsumer,
): Promise<JetStreamSubscription> {
  const options = consumerOpts({
    ...start,
    ack_policy: AckPolicy.None,
    deliver_subject: createInbox(),
    filter_subject: subjects,
    flow_control: true,
    idle_heartbeat: nanos(heartbeatMs),
    max_deliver: 1,
    mem_storage: true,
    num_replicas: 1,
  });
  options.bindStream(stream);
  return connection.jetstream({ timeout: JETSTREAM_TIMEOUT_MS }).subscribe(subjects, options);
}

/** How many messages are to come until all that stood there has; a few more where they are written now. */
export async function countOf(messages: JetStreamSubscription): Promise<number> {
  try {
    const { num_pending, delivered } = await messages.consumerInfo();
    return num_pending + delivered.consumer_seq;
  } catch (thrown) {
    messages.unsubscribe();
    throw thrown;
  }
}

/** What the consumer sends, until the signal, or until it falls silent or something of it was lost on the way. */
export async function* untilSilent(
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
