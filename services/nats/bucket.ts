import type { KV, KvEntry, NatsConnection } from "nats";
import { SwitchoverError } from "../../proto/error.ts";
import { type BucketEntry, watchBucket } from "./bucket-watch.ts";
import { type NatsLink, waitMs } from "./connection.ts";
import { isConflict, JETSTREAM_TIMEOUT_MS, natsFault, natsUnreachable } from "./fault.ts";

const WATCH_RETRY_MS = 500;

/** A value by its key, in the words and fields of errors about it. */
export interface NamedKey {
  readonly key: string;
  /** Begins sentences: "The slot of guest web". */
  readonly name: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

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

  /** The key's value; null where there is none, or none any more. */
  async get({ key, name }: NamedKey): Promise<KvEntry | null> {
    const entry = await this.run(`${name} was not read`, (kv) => kv.get(key));
    return entry === null || entry.operation !== "PUT" ? null : entry;
  }

  /**
   * Writes over the revision that was read, and returns the new one; 0 is that of a key without a value, so that a first
   * write is a compare-and-set as any other. ABORTED / REVISION_CONFLICT where another one is there by now.
   */
  write(
    { key, name, metadata }: NamedKey,
    value: string | Uint8Array,
    expectedRevision: number,
  ): Promise<number> {
    return this.run(`${name} was not written`, async (kv) => {
      try {
        return await (expectedRevision === 0
          ? kv.create(key, value)
          : kv.update(key, value, expectedRevision));
      } catch (thrown) {
        if (!isConflict(thrown)) throw thrown;
        const conflict = {
          reason: "REVISION_CONFLICT",
          ...(metadata === undefined ? {} : { metadata }),
          cause: thrown,
        };
        throw new SwitchoverError("ABORTED", `${name} was changed by another writer.`, conflict);
      }
    });
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

/** What a value says, by `read`; INTERNAL / RECORD_UNREADABLE, with its place, where that throws. */
export function readEntry<T>(entry: BucketEntry, name: string, read: (text: string) => T): T {
  try {
    return read(entry.string());
  } catch (thrown) {
    throw new SwitchoverError("INTERNAL", `${name} cannot be read.`, {
      reason: "RECORD_UNREADABLE",
      metadata: placeOf(entry),
      cause: thrown,
    });
  }
}

/** Where a value is, for an error's metadata. */
export function placeOf({ bucket, key, revision }: BucketEntry): Record<string, string> {
  return { bucket, key, revision: String(revision) };
}
