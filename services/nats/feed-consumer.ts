import {
  AckPolicy,
  type ConsumerMessages,
  DeliverPolicy,
  type JsMsg,
  type NatsConnection,
  nanos,
} from "nats";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { readJson } from "../../proto/read-json.ts";
import { FEED_ALL_HOSTS, FEED_STREAM, type FeedPlace, parseFeedPlace } from "../../proto/subjects.ts";
import type { Log } from "../log/log.ts";
import { type NatsLink, waitMs } from "./connection.ts";
import { JETSTREAM_TIMEOUT_MS, MESSAGE_ID_HEADER, natsFault } from "./fault.ts";

/** A consumer that nobody uses for so long is removed by the server. */
const UNUSED_LIFETIME_MS = 60 * 60_000;
/** After this without an acknowledgement an event comes again. */
const ACK_WAIT_MS = 10_000;
/** Events given out and not acknowledged. */
const PENDING_LIMIT = 1_024;
const PULL_SIZE = 128;
const PULL_EXPIRES_MS = 4_000;
/** Silence of twice this makes the client pull again, after a server's restart for instance. */
const IDLE_HEARTBEAT_MS = 1_000;
const REDELIVERY_DELAY_MS = 500;
const RETRY_MS = 500;

/** How far a consumer is behind the feed. */
export interface FeedLag {
  /** Events that the stream had not given out when the last one came, and those that are being handed over. */
  readonly pending: number;
  /** How old the last one was by the server's stamp when it came, while there are such; else 0. Microseconds. */
  readonly behindUs: number;
}

/** Takes an event in; the event counts as heard once it resolves, and comes again after it throws. */
export type FeedListener = (event: FeedEvent) => Promise<void>;

/** Whether the listener has a use for the word at that place; others count as heard without being read. */
export type IsAwaited = (place: FeedPlace) => boolean;

/**
 * Hears the words of all agents from the feed, by a durable pull consumer with explicit acknowledgement: from the first
 * start of the coordinator of that id on, and after a restart from where it was. Every coordinator hears all, for any of
 * them may drive a migration. Events of one subject are handed over one after the other, in order; those of different
 * subjects at the same time. At least once: an event comes again where its acknowledgement was lost.
 *
 * Most of what all agents say is about migrations that other coordinators drive, or came by FollowGuest before: what
 * nobody here awaits is known by subject and id, and its body is not decoded. Acknowledgements of one turn of the event
 * loop leave together.
 */
export class FeedConsumer {
  readonly #link: NatsLink;
  readonly #durableName: string;
  readonly #listener: FeedListener;
  readonly #log: Log;
  readonly #isAwaited: IsAwaited;
  readonly #ending = new AbortController();
  #heard: JsMsg[] = [];
  readonly #chains = new Map<string, Promise<void>>();
  readonly #running: Promise<void>;
  /** Of the last event that came. */
  #last = { pending: 0, ageUs: 0 };

  /** `coordinatorId` is a token of NATS names, as ids are. */
  constructor(
    link: NatsLink,
    coordinatorId: string,
    listener: FeedListener,
    log: Log,
    isAwaited: IsAwaited = () => true,
  ) {
    this.#link = link;
    this.#isAwaited = isAwaited;
    this.#durableName = `coordinator-${coordinatorId}`;
    this.#listener = listener;
    this.#log = log;
    this.#running = this.#run();
  }

  lag(): FeedLag {
    const pending = this.#last.pending + this.#chains.size;
    return { pending, behindUs: pending === 0 ? 0 : this.#last.ageUs };
  }

  /** Takes no more events and waits for those being handed over, for up to `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    this.#ending.abort();
    await this.#running;
    const done = new AbortController();
    const all = Promise.allSettled(this.#chains.values()).then(() => done.abort());
    await Promise.race([all, waitMs(timeoutMs, done.signal)]);
    this.#sendAcknowledgements();
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      const connection = this.#link.connection;
      try {
        if (connection !== undefined && this.#link.state === "reachable") await this.#consume(connection);
      } catch (thrown) {
        const { message } = natsFault(thrown, "The feed is not consumed");
        this.#log.warn({ nats_error: message }, "The feed is not consumed; trying again.");
      }
      await waitMs(RETRY_MS, signal);
    }
  }

  /** Returns when the consumer ends, by `close` or because it is no longer there. */
  async #consume(connection: NatsConnection): Promise<void> {
    await ensureConsumer(connection, this.#durableName);
    const stream = connection.jetstream({ timeout: JETSTREAM_TIMEOUT_MS });
    const consumer = await stream.consumers.get(FEED_STREAM, this.#durableName);
    const messages = await consumer.consume({
      bind: true,
      max_messages: PULL_SIZE,
      expires: PULL_EXPIRES_MS,
      idle_heartbeat: IDLE_HEARTBEAT_MS,
      abort_on_missing_resource: true,
      callback: (message) => this.#enqueue(message),
    });
    await this.#untilEnd(messages);
  }

  async #untilEnd(messages: ConsumerMessages): Promise<void> {
    const { signal } = this.#ending;
    const stop = (): void => messages.stop();
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
    const ended = await messages.closed();
    signal.removeEventListener("abort", stop);
    if (ended instanceof Error) throw ended;
  }

  #enqueue(message: JsMsg): void {
    const { info, subject } = message;
    this.#last = { pending: info.pending, ageUs: Date.now() * 1_000 - info.timestampNanos / 1_000 };
    const before = this.#chains.get(subject);
    if (before === undefined && !this.#concerns(message)) {
      this.#acknowledge(message);
      return;
    }
    const chain = (before ?? Promise.resolve())
      .then(() => this.#handle(message))
      .finally(() => {
        if (this.#chains.get(subject) === chain) this.#chains.delete(subject);
      });
    this.#chains.set(subject, chain);
  }

  #concerns({ headers, subject }: JsMsg): boolean {
    const place = parseFeedPlace(subject, headers?.get(MESSAGE_ID_HEADER) ?? "");
    return place === null || this.#isAwaited(place);
  }

  #acknowledge(message: JsMsg): void {
    this.#heard.push(message);
    if (this.#heard.length === 1) setImmediate(() => this.#sendAcknowledgements());
  }

  #sendAcknowledgements(): void {
    const heard = this.#heard;
    this.#heard = [];
    for (const message of heard) message.ack();
  }

  /** Never throws: the chain goes on. */
  async #handle(message: JsMsg): Promise<void> {
    if (!this.#concerns(message)) {
      this.#acknowledge(message);
      return;
    }
    let event: FeedEvent;
    try {
      event = readJson(message.json(), FeedEvent.fromJSON).value;
    } catch (thrown) {
      this.#log.error(
        { subject: message.subject, err: thrown },
        "A malformed event in the feed is passed over.",
      );
      message.term();
      return;
    }
    try {
      await this.#listener(event);
      this.#acknowledge(message);
    } catch (thrown) {
      this.#log.warn({ subject: message.subject, err: thrown }, "An event was not taken in and comes again.");
      message.nak(REDELIVERY_DELAY_MS);
    }
  }
}

async function ensureConsumer(connection: NatsConnection, durableName: string): Promise<void> {
  const { consumers } = await connection.jetstreamManager({ timeout: JETSTREAM_TIMEOUT_MS });
  // Adding a durable consumer that is there already, with the same configuration, changes nothing.
  await consumers.add(FEED_STREAM, {
    durable_name: durableName,
    filter_subject: FEED_ALL_HOSTS,
    deliver_policy: DeliverPolicy.New,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(ACK_WAIT_MS),
    max_ack_pending: PENDING_LIMIT,
    inactive_threshold: nanos(UNUSED_LIFETIME_MS),
  });
}
