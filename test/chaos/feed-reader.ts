import { setTimeout as delay } from "node:timers/promises";
import { type ConsumerMessages, connect, DeliverPolicy, type NatsConnection } from "nats";
import { FEED_STREAM } from "../../proto/subjects.ts";

const READ_TIMEOUT_MS = 5_000;
const AGAIN_AFTER_MS = 200;
/** Silence of twice this makes the client pull again. */
const IDLE_HEARTBEAT_MS = 1_000;

/** One message of the feed's stream. */
export interface ReadMessage {
  /** Its number in the stream. */
  readonly position: number;
  readonly subject: string;
  /** A FeedEvent as proto3 JSON. */
  readonly body: string;
}

/**
 * An observer who reads the feed's stream from its beginning, in its order, and goes on after each outage where it was.
 * It has nothing but NATS.
 */
export class FeedReader {
  readonly messages: ReadMessage[] = [];
  readonly #connection: NatsConnection;
  readonly #onMessage: (message: ReadMessage) => void;
  #reading: ConsumerMessages | null = null;
  #state: "open" | "closed" = "open";
  readonly #running: Promise<void>;

  private constructor(connection: NatsConnection, onMessage: (message: ReadMessage) => void) {
    this.#connection = connection;
    this.#onMessage = onMessage;
    this.#running = this.#run();
  }

  static async open(
    natsUrls: readonly string[],
    onMessage: (message: ReadMessage) => void = () => {},
  ): Promise<FeedReader> {
    const options = { name: "feed reader", maxReconnectAttempts: -1, reconnectTimeWait: 100 };
    return new FeedReader(await connect({ servers: [...natsUrls], ...options }), onMessage);
  }

  /** The number of the stream's last message. */
  async lastPosition(): Promise<number> {
    const manager = await this.#connection.jetstreamManager({ timeout: READ_TIMEOUT_MS });
    return (await manager.streams.info(FEED_STREAM)).state.last_seq;
  }

  /** The last message that was read. */
  get position(): number {
    return this.messages.at(-1)?.position ?? 0;
  }

  async close(): Promise<void> {
    this.#state = "closed";
    this.#reading?.stop();
    await this.#connection.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#state === "open") {
      try {
        await this.#readOn();
      } catch {
        // The stream is away, and is asked for again.
      }
      await delay(AGAIN_AFTER_MS);
    }
  }

  async #readOn(): Promise<void> {
    const consumer = await this.#connection
      .jetstream({ timeout: READ_TIMEOUT_MS })
      .consumers.get(FEED_STREAM, {
        deliver_policy: DeliverPolicy.StartSequence,
        opt_start_seq: this.position + 1,
      });
    const reading = await consumer.consume({ max_messages: 500, idle_heartbeat: IDLE_HEARTBEAT_MS });
    this.#reading = reading;
    for await (const message of reading) {
      // What an outage has it send again.
      if (message.seq <= this.position) continue;
      const read = { position: message.seq, subject: message.subject, body: message.string() };
      this.messages.push(read);
      this.#onMessage(read);
    }
  }
}
