import type { StreamState } from "nats";
import { FEED_STREAM, GUEST_BUCKET, HISTORY_BUCKET } from "../../proto/subjects.ts";
import type { BackupBucket, BackupEntry } from "../backup/backup-line.ts";
import type { BackupStore } from "../backup/restore-backup.ts";
import { Bucket } from "./bucket.ts";
import { scanBucket } from "./bucket-scan.ts";
import type { NatsLink } from "./connection.ts";
import { isNotFound, JETSTREAM_TIMEOUT_MS, natsFault, natsUnreachable } from "./fault.ts";

/** BackupStore on JetStream KV. */
export class NatsBackupStore implements BackupStore {
  readonly #link: NatsLink;
  readonly #buckets: Readonly<Record<BackupBucket, Bucket>>;

  constructor(link: NatsLink) {
    this.#link = link;
    this.#buckets = {
      [GUEST_BUCKET]: new Bucket(link, GUEST_BUCKET),
      [HISTORY_BUCKET]: new Bucket(link, HISTORY_BUCKET),
    };
  }

  async *entries(): AsyncGenerator<BackupEntry, void, undefined> {
    for (const bucket of [GUEST_BUCKET, HISTORY_BUCKET] as const) {
      const scan = { what: "The backup was not read", keys: ">", of: "values" } as const;
      for await (const { key, value } of scanBucket(this.#link, bucket, scan)) {
        yield { bucket, key, value: Buffer.from(value).toString("utf8") };
      }
    }
  }

  async read(bucket: BackupBucket, key: string): Promise<{ value: string | null; revision: number }> {
    const entry = await this.#buckets[bucket].run(`${key} was not read`, (kv) => kv.get(key));
    if (entry === null) return { value: null, revision: 0 };
    return { value: entry.operation === "PUT" ? entry.string() : null, revision: entry.revision };
  }

  async write({ bucket, key, value }: BackupEntry, expectedRevision: number): Promise<void> {
    await this.#buckets[bucket].write({ key, name: key }, Buffer.from(value), expectedRevision);
  }

  /** How many values both buckets hold; none where they were never made. */
  async count(): Promise<number> {
    const states = [GUEST_BUCKET, HISTORY_BUCKET].map((bucket) => this.#stateOf(`KV_${bucket}`));
    return (await Promise.all(states)).reduce((sum, state) => sum + (state?.messages ?? 0), 0);
  }

  /** "0" where there is no feed. */
  async feedLastSequence(): Promise<string> {
    return String((await this.#stateOf(FEED_STREAM))?.last_seq ?? 0);
  }

  async #stateOf(stream: string): Promise<StreamState | null> {
    const { connection } = this.#link;
    const what = `The state of ${stream} was not read`;
    if (connection === undefined) throw natsUnreachable(what);
    try {
      const { streams } = await connection.jetstreamManager({ timeout: JETSTREAM_TIMEOUT_MS });
      return (await streams.info(stream)).state;
    } catch (thrown) {
      if (isNotFound(thrown)) return null;
      throw natsFault(thrown, what);
    }
  }
}
