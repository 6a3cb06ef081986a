import {
  DiscardPolicy,
  type KvOptions,
  type NatsConnection,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "nats";
import { FEED_ALL, FEED_STREAM, GUEST_BUCKET, HISTORY_BUCKET, HOST_BUCKET } from "../../proto/subjects.ts";
import { isNameInUse, isNotFound, JETSTREAM_TIMEOUT_MS, natsFault } from "./fault.ts";

/**
 * What Switchover keeps in JetStream. Only what nats-server 2.9 knows is used: lifetimes are a bucket's, not a key's.
 *
 *   SWITCHOVER_FEED      every event, 7 days
 *   switchover_guests    one record a guest, for ever
 *   switchover_history   ended migrations, 30 days
 *   switchover_hosts     one heartbeat a host, 15 s
 */
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const FEED_LIFETIME_MS = 7 * DAY_MS;
const HISTORY_LIFETIME_MS = 30 * DAY_MS;
/** How long JetStream recognises a message that is sent again by its id. */
const DUPLICATE_WINDOW_MS = 2 * MINUTE_MS;
/** Three heartbeats. */
export const HOST_LIFETIME_MS = 15_000;

const BUCKETS: Readonly<Record<string, Partial<KvOptions>>> = {
  [GUEST_BUCKET]: {},
  [HISTORY_BUCKET]: { ttl: HISTORY_LIFETIME_MS },
  [HOST_BUCKET]: { ttl: HOST_LIFETIME_MS },
};

/**
 * Makes the feed's stream and the buckets where they are absent and leaves those that are there as they are, whatever
 * an operator made of them. `replicas` counts servers of the cluster. Idempotent, also when coordinators race.
 */
export async function ensureStores(connection: NatsConnection, replicas: number): Promise<void> {
  try {
    await ensureFeedStream(connection, replicas);
    const stream = connection.jetstream({ timeout: JETSTREAM_TIMEOUT_MS });
    for (const [bucket, options] of Object.entries(BUCKETS)) {
      await stream.views.kv(bucket, { ...BUCKET_DEFAULTS, ...options, replicas });
    }
  } catch (thrown) {
    throw natsFault(thrown, "The streams of Switchover could not be made");
  }
}

const BUCKET_DEFAULTS: Partial<KvOptions> = {
  history: 1,
  storage: StorageType.File,
  timeout: JETSTREAM_TIMEOUT_MS,
  // A direct read may come from a server that lags behind; a record's reader decides by what it reads.
  allow_direct: false,
};

async function ensureFeedStream(connection: NatsConnection, replicas: number): Promise<void> {
  const { streams } = await connection.jetstreamManager({ timeout: JETSTREAM_TIMEOUT_MS });
  try {
    await streams.info(FEED_STREAM);
    return;
  } catch (thrown) {
    if (!isNotFound(thrown)) throw thrown;
  }
  const config: Partial<StreamConfig> = {
    name: FEED_STREAM,
    subjects: [FEED_ALL],
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.Old,
    storage: StorageType.File,
    max_age: nanos(FEED_LIFETIME_MS),
    duplicate_window: nanos(DUPLICATE_WINDOW_MS),
    num_replicas: replicas,
  };
  try {
    await streams.add(config);
  } catch (thrown) {
    if (!isNameInUse(thrown)) throw thrown;
  }
}
