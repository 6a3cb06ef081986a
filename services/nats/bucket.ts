import type { KV, NatsConnection } from "nats";
import { SwitchoverError } from "../../proto/error.ts";
import { type BucketEntry, watchBucket } from "./bucket-watch.ts";
import { type NatsLink, waitMs } from "./connection.ts";
import { JETSTREAM_TIMEOUT_MS, natsFault, natsUnreachable } from "./fault.ts";

const WATCH_RETRY_MS = 500;

/** One KV bucket that ensureStores made, over whatever connection the link has. */
export class Bucket {
  readonly #link: NatsLink;
  readonly #name: string;
  #bound: { readonly connection: NatsConnection; readonly kv: Promise<KV> } | undefined;

  constructor(link: NatsLink, name: string) {
    this.#link = link;
    this.#name = name;
  }

  /**
   * Runs `operation` on the bucket. Throws UNAVAILABLE / NATS_UNREACHABLE where nothing was done and UNAVAILABLE /
   * OUTCOME_UNKNOWN after 1 s without an answer; `what` begins the sentence.
   */
  async run<T>(what: string, operation: (kv: KV) => Promise<T>): Promise<T> {
    const connection = this.#link.connection;
    if (connection === undefined) throw natsUnreachable(what);
    try {
      return await operation(await this.#bind(connection));
    } catch (thrown) {
      throw natsFault(thrown, what);
    }
  }

  /**
   * Every key, those of deleted values included. Asked of the stream, by request and answer: the client's own listing
   * (KV.keys) ends without a word and without keys that the server delivers before it describes the listing's consumer.
   */
  async keys(what: string): Promise<readonly string[]> {
    const connection = this.#link.connection;
    if (connection === undefined) throw natsUnreachable(what);
    const prefix = `$KV.${this.#name}.`;
    try {
      const { streams } = await connection.jetstreamManager({
        timeout: JETSTREAM_TIMEOUT_MS,
        checkAPI: false,
      });
      const { state } = await streams.info(`KV_${this.#name}`, { subjects_filter: `${prefix}>` });
      return Object.keys(state.subjects ?? {}).map((subject) => subject.slice(prefix.length));
    } catch (thrown) {
      throw natsFault(thrown, what);
    }
  }

  /**
   * The values of `key` (or all keys) as they stand, then every newer one, until the signal. While NATS is away it waits,
   * and begins anew when NATS is back, so that a value may come twice. Deleted values are left out. `onCurrent` is called
   * once all that stood there has been brought, each time that it begins.
   */
  async *watch(
    what: string,
    key: string,
    signal: AbortSignal,
    onCurrent?: () => void,
  ): AsyncGenerator<BucketEntry, void, undefined> {
    while (!signal.aborted) {
      const renewal = new AbortController();
      const forget = this.#link.onReturn(() => renewal.abort());
      try {
        yield* this.#watchOnce(what, key, AbortSignal.any([signal, renewal.signal]), onCurrent);
      } catch (thrown) {
        if (SwitchoverError.from(thrown).code !== "UNAVAILABLE") throw thrown;
        await waitMs(WATCH_RETRY_MS, AbortSignal.any([signal, renewal.signal]));
      } finally {
        forget();
      }
    }
  }

  async *#watchOnce(
    what: string,
    key: string,
    signal: AbortSignal,
    onCurrent: (() => void) | undefined,
  ): AsyncGenerator<BucketEntry, void, undefined> {
    const connection = this.#link.connection;
    if (connection === undefined) throw natsUnreachable(what);
    try {
      yield* watchBucket(connection, this.#name, { key, signal, onCurrent });
    } catch (thrown) {
      throw natsFault(thrown, what);
    }
  }

  /** Binding asks the server once, so it is done once a connection. */
  async #bind(connection: NatsConnection): Promise<KV> {
    if (this.#bound?.connection !== connection) {
      const stream = connection.jetstream({ timeout: JETSTREAM_TIMEOUT_MS });
      const kv = stream.views.kv(this.#name, {
        bindOnly: true,
        timeout: JETSTREAM_TIMEOUT_MS,
        allow_direct: false,
      });
      this.#bound = { connection, kv };
    }
    try {
      return await this.#bound.kv;
    } catch (thrown) {
      this.#bound = undefined;
      throw thrown;
    }
  }
}
