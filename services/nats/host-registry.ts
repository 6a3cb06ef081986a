import type { HostPort } from "../../coordinator/runner/host-port.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { HostId } from "../../proto/ids.ts";
import { HOST_BUCKET } from "../../proto/subjects.ts";
import type { Log } from "../log/log.ts";
import { Bucket } from "./bucket.ts";
import { type NatsLink, waitMs } from "./connection.ts";

const HEARTBEAT_MS = 5_000;
/** Until the first heartbeat is stored, so that a host is known as soon as a coordinator has made the bucket. */
const FIRST_HEARTBEAT_RETRY_MS = 500;
const WATCH_RETRY_MS = 1_000;
/** Different lists of capabilities, as versions of agents make them. */
const LISTS_AT_MOST = 64;

/**
 * The agent's side of the host bucket: puts the record there at once and every 5 s; it is gone from there 15 s after the
 * last one. Returns what ends that.
 */
export function startHeartbeat(link: NatsLink, log: Log, record: () => HostRecord): () => Promise<void> {
  const bucket = new Bucket(link, HOST_BUCKET);
  const ending = new AbortController();
  let wake = new AbortController();
  const forget = link.onReachable(() => wake.abort());
  const run = async (): Promise<void> => {
    let health: "unknown" | "stored" | "refused" = "unknown";
    while (!ending.signal.aborted) {
      wake = new AbortController();
      try {
        await beat(bucket, record());
        if (health !== "stored") log.info({}, "The host is in the host registry.");
        health = "stored";
      } catch (thrown) {
        if (health === "stored") log.warn({ err: thrown }, "The heartbeat was not stored.");
        health = "refused";
      }
      const waitNextMs = health === "stored" ? HEARTBEAT_MS : FIRST_HEARTBEAT_RETRY_MS;
      await waitMs(waitNextMs, AbortSignal.any([ending.signal, wake.signal]));
    }
  };
  const running = run();
  return async () => {
    forget();
    ending.abort();
    await running;
  };
}

async function beat(bucket: Bucket, record: HostRecord): Promise<void> {
  const body = JSON.stringify(HostRecord.toJSON(record));
  await bucket.run("The heartbeat was not stored", (kv) => kv.put(record.hostId, body));
}

/**
 * The coordinator's side: every host that was ever heard of since the start, by a watch. While NATS is away the last
 * known records stand, for agents are reached without it.
 */
export class HostRegistry implements HostPort {
  readonly #bucket: Bucket;
  readonly #log: Log;
  /** Decoded when somebody asks: of thousands of heartbeats a second hardly one is. */
  readonly #known = new Map<string, string | HostRecord>();
  readonly #lists = new Map<string, readonly string[]>();
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;

  constructor(link: NatsLink, log: Log) {
    this.#bucket = new Bucket(link, HOST_BUCKET);
    this.#log = log;
    this.#running = this.#run();
  }

  /** The host's record where it lives: read from the bucket. UNAVAILABLE where NATS does not answer. */
  async get(hostId: HostId): Promise<HostRecord | null> {
    const entry = await this.#bucket.get({ key: hostId, name: `The record of host ${hostId}` });
    return entry === null ? null : (this.#decode(hostId, entry.string()) ?? null);
  }

  /** The last record heard of, however old; undefined where there was none. */
  lastKnown(hostId: HostId): HostRecord | undefined {
    const known = this.#known.get(hostId);
    return typeof known === "string" ? this.#decode(hostId, known) : known;
  }

  /** Ends the watch; the records stand. */
  async close(): Promise<void> {
    this.#ending.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      try {
        for await (const entry of this.#bucket.watch("Hosts are not watched", ">", signal))
          this.#known.set(entry.key, entry.string());
      } catch (thrown) {
        this.#log.warn({ err: thrown }, "The watch of hosts failed and begins anew.");
      }
      await waitMs(WATCH_RETRY_MS, signal);
    }
  }

  #decode(hostId: string, text: string): HostRecord | undefined {
    try {
      const read = HostRecord.fromJSON(JSON.parse(text));
      const record = { ...read, capabilities: this.#shared(read.capabilities) };
      this.#known.set(hostId, record);
      return record;
    } catch (thrown) {
      this.#log.warn({ host_id: hostId, err: thrown }, "A record in the host registry is malformed.");
      return undefined;
    }
  }

  /** Agents of one version say the same: ten thousand hosts need not hold it ten thousand times. */
  #shared(capabilities: readonly string[]): readonly string[] {
    const text = capabilities.join(",");
    const known = this.#lists.get(text);
    if (known !== undefined) return known;
    if (this.#lists.size >= LISTS_AT_MOST) this.#lists.clear();
    this.#lists.set(text, capabilities);
    return capabilities;
  }
}
