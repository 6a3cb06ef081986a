import {
  DiscardPolicy,
  type KvOptions,
  type NatsConnection,
  nanos,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "nats";
import {
  DRAIN_BUCKET,
  FEED_ALL,
  FEED_STREAM,
  GUEST_BUCKET,
  HISTORY_BUCKET,
  HOST_BUCKET,
  SLOT_BUCKET,
} from "../../proto/subjects.ts";
import { isNameInUse, isNotFound, JETSTREAM_TIMEOUT_MS, natsFault } from "./fault.ts";

/**
 * What Switchover keeps in JetStream. Only what nats-server 2.9 knows is used: lifetimes are a bucket's, not a key's.
 *
 *   SWITCHOVER_FEED      every event, 7 days
 *   switchover_guests    one record a guest, for ever
 *   switchover_slots     one value a guest: whether its migration counts against the limits
 *   switchover_drains    one value a host: its last evacuation
 *   switchover_history   ended migrations, 30 days and 100,000 of them unless told otherwise
 *   switchover_hosts     one heartbeat a host, 15 s
 */
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const FEED_LIFETIME_MS = 7 * DAY_MS;
/** Of a history that is made here. */
const HISTORY_DAYS = 30;
const HISTORY_MIGRATIONS = 100_000;
const HISTORY_STREAM = `KV_${HISTORY_BUCKET}`;
/** How long JetStream recognises a message that is sent again by its id. */
const DUPLICATE_WINDOW_MS = 2 * MINUTE_MS;
/** Three heartbeats. */
export const HOST_LIFETIME_MS = 15_000;

const BUCKETS: Readonly<Record<string, Partial<KvOptions>>> = {
  [GUEST_BUCKET]: {},
  [SLOT_BUCKET]: {},
  [DRAIN_BUCKET]: {},
  [HISTORY_BUCKET]: { ttl: HISTORY_DAYS * DAY_MS },
  [HOST_BUCKET]: { ttl: HOST_LIFETIME_MS },
};

/** How long ended migrations are kept, by age and by number; undefined: as the history that is there has it. */
export interface HistoryRetention {
  readonly days: number | undefined;
  readonly migrations: number | undefined;
}

/**
 * Makes the feed's stream and the buckets where they are absent and leaves those that are there as they are, whatever
 * an operator made of them, but for what `retention` says of the history. `replicas` counts servers of the cluster.
 * Idempotent, also when coordinators race; of two that say different things of the history the later one is obeyed.
 */
export async function ensureStores(
  connection: NatsConnection,
  replicas: number,
  retention: HistoryRetention = { days: undefined, migrations: undefined },
): Promise<void> {
  try {
    await ensureFeedStream(connection, replicas);
    const isNewHistory = (await historyConfig(connection)) === null;
    const stream = connection.jetstream({ timeout: JETSTREAM_TIMEOUT_MS });
    for (const [bucket, options] of Object.entries(BUCKETS)) {
      await stream.views.kv(bucket, { ...BUCKET_DEFAULTS, ...options, replicas });
    }
    const migrations = retention.migrations ?? (isNewHistory ? HISTORY_MIGRATIONS : undefined);
    await limitHistory(connection, { ...retention, migrations });
  } catch (thrown) {
    throw natsFault(thrown, "The streams of Switchover could not be made");
  }
}

async function historyConfig(connection: NatsConnection): Promise<StreamConfig | null> {
  const { streams } = await connection.jetstreamManager({ timeout: JETSTREAM_TIMEOUT_MS });
  try {
    return (await streams.info(HISTORY_STREAM)).config;
  } catch (thrown) {
    if (isNotFound(thrown)) return null;
    throw thrown;
  }
}

/** NATS itself lets the oldest go. A bucket would refuse new values when it is full, so the limit is the stream's. */
async function limitHistory(
  connection: NatsConnection,
  { days, migrations }: HistoryRetention,
): Promise<void> {
  const present = await historyConfig(connection);
  if (present === null) return;
  const limits = {
    max_age: days === undefined ? present.max_age : nanos(days * DAY_MS),
    max_msgs: migrations ?? present.max_msgs,
    discard: DiscardPolicy.Old,
  };
  const isSo =
    present.max_age === limits.max_age &&
    present.max_msgs === limits.max_msgs &&
    (present.discard === limits.discard || limits.max_msgs <= 0);
  if (isSo) return;
  const { streams } = await connection.jetstreamManager({ timeout: JETSTREAM_TIMEOUT_MS });
  await streams.update(HISTORY_STREAM, { ...present, ...limits });
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
