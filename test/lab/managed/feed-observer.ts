import { connect, type NatsConnection } from "nats";
import { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import { type Phase, phaseToJSON } from "../../../proto/gen/switchover/v1/migration.ts";
import { FEED_ALL } from "../../../proto/subjects.ts";
import { pollUntil } from "../deadline.ts";

/** One message of the feed, as an outsider gets it. */
export interface ObservedEvent {
  readonly subject: string;
  readonly event: FeedEvent;
}

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
    const connection = await connect({ servers: natsUrl, name: "lab observer" });
    const observer = new FeedObserver(connection);
    await connection.flush();
    return observer;
  }

  /** All that was said about one migration so far. */
  about(migrationId: string): readonly ObservedEvent[] {
    return this.#events.filter(({ event }) => event.migrationId === migrationId);
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
