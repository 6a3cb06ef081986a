import { AckPolicy, connect, DeliverPolicy, type NatsConnection, nanos } from "nats";
import { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import { type Phase, phaseToJSON } from "../../../proto/gen/switchover/v1/migration.ts";
import type { MigrationId } from "../../../proto/ids.ts";
import { FEED_ALL, FEED_STREAM, feedSubjects } from "../../../proto/subjects.ts";
import { pollUntil } from "../deadline.ts";

/** One message of the feed, as an outsider gets it. */
export interface ObservedEvent {
  readonly subject: string;
  readonly event: FeedEvent;
}

const RECONNECT_MS = 100;
/** Of one reading of the stream, whose messages are there. */
const READ_TIMEOUT_MS = 5_000;

/** An observer who has nothing but NATS: plain subscription, in the order in which messages came. */
export class FeedObserver {
  readonly #connection: NatsConnection;
  readonly #events: ObservedEvent[] = [];

  private constructor(connection: NatsConnection) {
    this.#connection = connection;
    connection.subscribe(FEED_ALL, {
      callback: (error, message) => {
        if (error !== null) throw error;
        this.#events.push({ subject: message.subject, event: FeedEvent.fromJSON(message.json()) });
      },
    });
  }

  static async start(natsUrl: string): Promise<FeedObserver> {
    const connection = await connect({
      servers: natsUrl,
      name: "lab observer",
      maxReconnectAttempts: -1,
      reconnectTimeWait: RECONNECT_MS,
    });
    const observer = new FeedObserver(connection);
    await connection.flush();
    return observer;
  }

  /** All that was said about one migration so far. */
  about(migrationId: string): readonly ObservedEvent[] {
    return this.#events.filter(({ event }) => event.migrationId === migrationId);
  }

  /** All that was heard so far. */
  all(): readonly ObservedEvent[] {
    return this.#events;
  }

  /** All that the feed's stream keeps about one migration, in its order: what an observer catches up on after an outage. */
  async stored(migrationId: string): Promise<readonly FeedEvent[]> {
    const options = { timeout: READ_TIMEOUT_MS };
    const manager = await this.#connection.jetstreamManager(options);
    const { name, num_pending: waiting } = await manager.consumers.add(FEED_STREAM, {
      filter_subject: feedSubjects({ t: "migration", migrationId: migrationId as MigrationId }),
      deliver_policy: DeliverPolicy.All,
      ack_policy: AckPolicy.None,
      inactive_threshold: nanos(READ_TIMEOUT_MS),
    });
    const events: FeedEvent[] = [];
    if (waiting === 0) return events;
    const consumer = await this.#connection.jetstream(options).consumers.get(FEED_STREAM, name);
    for await (const message of await consumer.fetch({ max_messages: waiting, expires: READ_TIMEOUT_MS })) {
      events.push(FeedEvent.fromJSON(message.json()));
    }
    return events;
  }

  /** The phases that coordinators announced, with their positions, in the order of arrival. */
  phases(migrationId: string): readonly { readonly phase: string; readonly sequence: bigint }[] {
    return this.about(migrationId).flatMap(({ event }) =>
      event.event?.$case === "phaseChanged"
        ? [{ phase: phaseName(event.event.value.to), sequence: event.sequence }]
        : [],
    );
  }

  /** Waits until the phase was announced: the feed leaves after the record was committed. */
  async waitForPhase(migrationId: string, phase: Phase, timeoutMs: number): Promise<void> {
    const name = phaseName(phase);
    await pollUntil(
      () => this.phases(migrationId).some((seen) => seen.phase === name) || undefined,
      timeoutMs,
      `Phase ${name} of ${migrationId} in the feed`,
    );
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}

/** `COMPLETED` for PHASE_COMPLETED. */
export function phaseName(phase: Phase): string {
  return phaseToJSON(phase).replace(/^PHASE_/, "");
}
