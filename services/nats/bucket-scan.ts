import { AckPolicy, type Consumer, DeliverPolicy, type JsMsg, nanos } from "nats";
import { SwitchoverError } from "../../proto/error.ts";
import type { NatsLink } from "./connection.ts";
import { JETSTREAM_TIMEOUT_MS, natsFault, natsUnreachable } from "./fault.ts";

/** Messages asked for at a time: more are on the way to a slow reader at no moment. */
const PULL_SIZE = 1_000;
const PULL_EXPIRES_MS = 2_000;
/** Without a message for so long, the server is asked whether there are more. */
const QUIET_MS = 20;
/** What a reader that died leaves behind is removed by the server after this. */
const UNUSED_LIFETIME_MS = 30_000;
/** KV's own words for a value that is gone; they outlive it. */
const OPERATION_HEADER = "KV-Operation";

export interface ScannedEntry {
  readonly key: string;
  /** Empty where only keys were asked for. */
  readonly value: Uint8Array;
  /** By the server's clock. */
  readonly storedAtUnixMs: number;
}

export interface Scan {
  /** Begins the sentence of an error. */
  readonly what: string;
  /** One key, or ">" for all. */
  readonly keys: string;
  readonly of: "values" | "keys";
}

/**
 * Every key of a bucket, with its value as it stands when it is read, one after the other: no more than one pull of them
 * is held. What was there when the scan began is there, unless it was deleted; a key that is written meanwhile comes once
 * or again, the newest last. Throws UNAVAILABLE where NATS cannot be asked, or goes away meanwhile.
 */
export async function* scanBucket(
  link: NatsLink,
  bucket: string,
  scan: Scan,
): AsyncGenerator<ScannedEntry, void, undefined> {
  const { connection } = link;
  if (connection === undefined) throw natsUnreachable(scan.what);
  const stream = `KV_${bucket}`;
  const prefix = `$KV.${bucket}.`;
  try {
    const manager = await connection.jetstreamManager({ timeout: JETSTREAM_TIMEOUT_MS, checkAPI: false });
    const made = await manager.consumers.add(stream, {
      filter_subject: `${prefix}${scan.keys}`,
      // A bucket that somebody made with a history has older values too.
      deliver_policy: DeliverPolicy.LastPerSubject,
      ack_policy: AckPolicy.None,
      headers_only: scan.of === "keys",
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: nanos(UNUSED_LIFETIME_MS),
    });
    try {
      if (made.num_pending === 0) return;
      const consumer = await connection
        .jetstream({ timeout: JETSTREAM_TIMEOUT_MS })
        .consumers.get(stream, made.name);
      for await (const message of pullAll(consumer, scan.what)) {
        if (message.headers?.has(OPERATION_HEADER)) continue;
        yield {
          key: message.subject.slice(prefix.length),
          value: message.data,
          storedAtUnixMs: message.info.timestampNanos / 1e6,
        };
      }
    } finally {
      await manager.consumers.delete(stream, made.name).catch(() => false);
    }
  } catch (thrown) {
    throw natsFault(thrown, scan.what);
  }
}

/** All messages of a consumer until none is left; a gap in them is an error, for nobody sends them again. */
async function* pullAll(consumer: Consumer, what: string): AsyncGenerator<JsMsg, void, undefined> {
  for (let delivered = 0; ; ) {
    const before = delivered;
    const messages = await consumer.fetch({ max_messages: PULL_SIZE, expires: PULL_EXPIRES_MS });
    const stopAsking = onQuiet(
      () => delivered,
      async () => {
        if (await isAllDelivered(consumer, delivered)) messages.stop();
      },
    );
    try {
      for await (const message of messages) {
        delivered += 1;
        if (message.info.deliverySequence !== delivered) throw cutShort(what);
        yield message;
        if (message.info.pending === 0) return;
      }
    } finally {
      stopAsking();
    }
    if (await isAllDelivered(consumer, delivered)) return;
    if (delivered === before) throw cutShort(what);
  }
}

/**
 * What a message says of those after it is old where some of them were written anew while it was sent; then the pull waits
 * for more than there is.
 */
async function isAllDelivered(consumer: Consumer, delivered: number): Promise<boolean> {
  const info = await consumer.info();
  return info.num_pending === 0 && info.delivered.consumer_seq === delivered;
}

/** Calls `ask`, again and again, while the count does not change. What it throws shows when the pull expires. */
function onQuiet(countOf: () => number, ask: () => Promise<void>): () => void {
  let last = countOf();
  let asking = false;
  const timer = setInterval(() => {
    const isQuiet = countOf() === last;
    last = countOf();
    if (!isQuiet || asking) return;
    asking = true;
    void ask()
      .catch(() => undefined)
      .finally(() => {
        asking = false;
      });
  }, QUIET_MS);
  return () => clearInterval(timer);
}

function cutShort(what: string): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", `${what}: NATS did not send all of them; ask again.`, {
    reason: "SCAN_CUT_SHORT",
  });
}
