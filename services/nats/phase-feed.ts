import type { NatsConnection } from "nats";
import type { FeedPort } from "../../coordinator/runner/feed-port.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { MigrationId } from "../../proto/ids.ts";
import { FEED_STREAM, feedSubject } from "../../proto/subjects.ts";
import type { NatsLink } from "./connection.ts";
import { isNotFound, JETSTREAM_TIMEOUT_MS, natsFault, natsUnreachable } from "./fault.ts";

/** FeedPort on JetStream: a coordinator's own words in the feed, acknowledged by the stream before they count. */
export class NatsPhaseFeed implements FeedPort {
  readonly #link: NatsLink;

  constructor(link: NatsLink) {
    this.#link = link;
  }

  publish(event: FeedEvent, messageId: string): Promise<void> {
    const subject = subjectOf(event.migrationId as MigrationId);
    return this.#run(`The event ${messageId} is not known to be in the feed`, async (connection) => {
      const stream = connection.jetstream({ timeout: JETSTREAM_TIMEOUT_MS });
      await stream.publish(subject, JSON.stringify(FeedEvent.toJSON(event)), { msgID: messageId });
    });
  }

  lastSequence(migrationId: MigrationId): Promise<bigint> {
    return this.#run(`The feed of migration ${migrationId} was not read`, async (connection) => {
      const { streams } = await connection.jetstreamManager({
        timeout: JETSTREAM_TIMEOUT_MS,
        checkAPI: false,
      });
      try {
        const message = await streams.getMessage(FEED_STREAM, { last_by_subj: subjectOf(migrationId) });
        return FeedEvent.fromJSON(message.json()).sequence;
      } catch (thrown) {
        if (isNotFound(thrown)) return 0n;
        throw thrown;
      }
    });
  }

  async #run<T>(what: string, operation: (connection: NatsConnection) => Promise<T>): Promise<T> {
    const connection = this.#link.connection;
    if (connection === undefined) throw natsUnreachable(what);
    try {
      return await operation(connection);
    } catch (thrown) {
      throw natsFault(thrown, what);
    }
  }
}

function subjectOf(migrationId: MigrationId): string {
  return feedSubject({ t: "migration", migrationId }, { t: "coordinator" });
}
