import type { NatsConnection } from "nats";
import type { Appended, FeedMessage, FeedStream, StoredMessage } from "../../agent/feed/feed-stream.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { readJson } from "../../proto/read-json.ts";
import { FEED_STREAM } from "../../proto/subjects.ts";
import { cloudEventHeaders } from "./cloud-event.ts";
import type { NatsLink } from "./connection.ts";
import {
  isConflict,
  isHopeless,
  isNotFound,
  JETSTREAM_TIMEOUT_MS,
  MESSAGE_ID_HEADER,
  natsFault,
  natsUnreachable,
} from "./fault.ts";

/**
 * The feed's stream on JetStream: a message is stored with the expected last sequence of its subject, which a stream
 * judges however old the attempt is; its id is remembered for the stream's duplicate window only. A message gets its
 * headers here, from its event.
 */
export class NatsFeedStream implements FeedStream {
  readonly #link: NatsLink;

  constructor(link: NatsLink) {
    this.#link = link;
  }

  last(subject: string): Promise<StoredMessage | null> {
    return this.#run(`The last message of ${subject} was not read`, async (connection) => {
      const { streams } = await connection.jetstreamManager({
        timeout: JETSTREAM_TIMEOUT_MS,
        checkAPI: false,
      });
      try {
        const message = await streams.getMessage(FEED_STREAM, { last_by_subj: subject });
        return {
          position: message.seq,
          messageId: message.header.get(MESSAGE_ID_HEADER),
          sequence: readJson(message.json(), FeedEvent.fromJSON).value.sequence,
        };
      } catch (thrown) {
        if (isNotFound(thrown)) return null;
        throw thrown;
      }
    });
  }

  append({ subject, messageId, body }: FeedMessage, after: number): Promise<Appended> {
    return this.#run(`The event ${messageId} is not known to be in the feed`, async (connection) => {
      const stream = connection.jetstream({ timeout: JETSTREAM_TIMEOUT_MS });
      try {
        const event = readJson(JSON.parse(body), FeedEvent.fromJSON).value;
        const { seq } = await stream.publish(subject, body, {
          headers: cloudEventHeaders(event, messageId),
          msgID: messageId,
          expect: { lastSubjectSequence: after },
        });
        return { t: "stored", position: seq };
      } catch (thrown) {
        if (isConflict(thrown)) return { t: "overtaken" };
        if (!isHopeless(thrown)) throw thrown;
        const sentence = `The event ${messageId} can never be stored.`;
        throw new SwitchoverError("INVALID_ARGUMENT", sentence, {
          reason: "EVENT_UNSENDABLE",
          cause: thrown,
        });
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
