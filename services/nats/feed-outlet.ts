import type { NatsConnection } from "nats";
import type { FeedOutlet } from "../../agent/host-agent-ports.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import { FEED_STREAM, feedSubject } from "../../proto/subjects.ts";
import type { Log } from "../log/log.ts";
import { type NatsLink, waitMs } from "./connection.ts";
import { isConflict, isHopeless, isNotFound, JETSTREAM_TIMEOUT_MS, natsFault } from "./fault.ts";

/** JetStream's header for the id of a message. */
const MESSAGE_ID_HEADER = "Nats-Msg-Id";
const QUEUE_LIMIT = 10_000;
const FIRST_WAIT_MS = 100;
const LAST_WAIT_MS = 2_000;

/**
 * An agent's way to the feed. Each event is stored exactly once and in order, across outages and restarts of NATS:
 * one is on its way at a time, and an attempt with an unknown outcome is settled by reading the subject's last message
 * before the next one. `publish` only queues; at most 10,000 wait, what comes beyond is lost, with an alarm in the log.
 */
export class NatsFeedOutlet implements FeedOutlet {
  readonly #link: NatsLink;
  readonly #hostId: HostId;
  readonly #log: Log;
  readonly #closing = new AbortController();
  readonly #queue: FeedEvent[] = [];
  #lost = 0;
  #draining: Promise<void> | undefined;

  constructor(link: NatsLink, hostId: HostId, log: Log) {
    this.#link = link;
    this.#hostId = hostId;
    this.#log = log;
  }

  publish(event: FeedEvent): void {
    if (this.#queue.length >= QUEUE_LIMIT) {
      this.#lost += 1;
      if (this.#lost === 1) {
        this.#log.error(
          { queued: QUEUE_LIMIT },
          "The feed's queue is full: events are lost until NATS is back.",
        );
      }
      return;
    }
    this.#queue.push(event);
    this.#draining ??= this.#drain();
  }

  /** Waits until all is stored, for up to `timeoutMs`, and gives up on the rest; returns how many events that was. */
  async close(timeoutMs: number): Promise<number> {
    const deadline = waitMs(timeoutMs, this.#closing.signal);
    await Promise.race([this.#draining, deadline]);
    this.#closing.abort();
    await this.#draining;
    return this.#queue.length;
  }

  async #drain(): Promise<void> {
    // The turn that published belongs to the guest's CPUs.
    await new Promise(setImmediate);
    for (let event = this.#queue[0]; event !== undefined; event = this.#queue[0]) {
      await this.#store(event);
      if (this.#closing.signal.aborted) break;
      this.#queue.shift();
    }
    if (this.#lost > 0)
      this.#log.warn({ lost: this.#lost }, "Events were lost while the feed's queue was full.");
    this.#lost = 0;
    this.#draining = undefined;
  }

  /** Returns when the event is stored, is beyond hope, or the outlet closes. */
  async #store(event: FeedEvent): Promise<void> {
    const subject = subjectOf(event, this.#hostId);
    const messageId = messageIdOf(event, this.#hostId);
    const body = JSON.stringify(FeedEvent.toJSON(event));
    let doubt: "none" | "maybe stored" = "none";
    for (let waitNextMs = FIRST_WAIT_MS; !this.#closing.signal.aborted; ) {
      const connection = this.#link.connection;
      try {
        if (connection !== undefined) {
          await attempt(connection, subject, messageId, body, doubt);
          return;
        }
      } catch (thrown) {
        doubt = "maybe stored";
        if (isHopeless(thrown)) {
          this.#log.error({ subject, message_id: messageId, err: thrown }, "An event cannot be sent.");
          return;
        }
        const { message } = natsFault(thrown, "The event is not stored yet");
        this.#log.debug({ subject, message_id: messageId }, message);
      }
      await waitMs(waitNextMs, this.#closing.signal);
      waitNextMs = Math.min(waitNextMs * 2, LAST_WAIT_MS);
    }
  }
}

/** Stores the message unless an earlier attempt did. Throws where that is still unknown. */
async function attempt(
  connection: NatsConnection,
  subject: string,
  messageId: string,
  body: string,
  doubt: "none" | "maybe stored",
): Promise<void> {
  const stream = connection.jetstream({ timeout: JETSTREAM_TIMEOUT_MS });
  if (doubt === "none") {
    await stream.publish(subject, body, { msgID: messageId });
    return;
  }
  const last = await lastOf(connection, subject);
  if (last.messageId === messageId) return;
  try {
    await stream.publish(subject, body, {
      msgID: messageId,
      expect: { lastSubjectSequence: last.streamSequence },
    });
  } catch (thrown) {
    // The earlier attempt arrived in between, or it is this one's answer that says so.
    if (!isConflict(thrown) || (await lastOf(connection, subject)).messageId !== messageId) throw thrown;
  }
}

interface LastMessage {
  /** Zero where the subject has none. */
  readonly streamSequence: number;
  readonly messageId: string;
}

async function lastOf(connection: NatsConnection, subject: string): Promise<LastMessage> {
  const { streams } = await connection.jetstreamManager({ timeout: JETSTREAM_TIMEOUT_MS, checkAPI: false });
  try {
    const message = await streams.getMessage(FEED_STREAM, { last_by_subj: subject });
    return { streamSequence: message.seq, messageId: message.header.get(MESSAGE_ID_HEADER) };
  } catch (thrown) {
    if (isNotFound(thrown)) return { streamSequence: 0, messageId: "" };
    throw thrown;
  }
}

export function subjectOf(event: FeedEvent, hostId: HostId): string {
  const topic =
    event.migrationId === ""
      ? { t: "guest" as const, guestId: event.guestId as GuestId }
      : { t: "migration" as const, migrationId: event.migrationId as MigrationId };
  return feedSubject(topic, { t: "host", hostId });
}

/**
 * Names the event for JetStream's recognition of repetitions. Outside a migration an agent counts anew after its
 * restart, so the time keeps its events apart there.
 */
export function messageIdOf(event: FeedEvent, hostId: HostId): string {
  if (event.migrationId !== "") return `${event.migrationId}:${hostId}:${event.sequence}`;
  return `guest-${event.guestId}:${hostId}:${event.sequence}:${event.atUnixUs}`;
}
