import { DeliverPolicy, type NatsConnection } from "nats";
import { type NatsLink, waitMs } from "./connection.ts";
import { JETSTREAM_TIMEOUT_MS, MESSAGE_ID_HEADER, natsFault, natsUnreachable } from "./fault.ts";
import { countOf, subscribeInOrder, untilSilent } from "./ordered-messages.ts";

/** Silence of twice this makes it go on by another consumer. */
const HEARTBEAT_MS = 1_000;
/** A consumer that was lost with nothing heard is not asked for anew at once. */
const AGAIN_AFTER_MS = 100;

export interface FollowedStream {
  /** Begins the sentence of an error. */
  readonly what: string;
  readonly stream: string;
  readonly subjects: string;
  /** How many of the messages that are there at the start are brought, the newest ones; their holes count. */
  readonly atMost: number;
}

export interface FollowedMessage {
  readonly subject: string;
  /** Empty where the message has none. */
  readonly messageId: string;
  /** Only until the next message is asked for. */
  readonly data: Uint8Array;
  readonly position: number;
  /** By the clock of NATS. */
  readonly storedAtUnixMs: number;
}

/** How far a follower has come in which stream. */
interface Place {
  streamCreated: string;
  heard: number;
}

/**
 * The messages of a stream, each once and in the order of the stream, by consumers that write nothing and end by
 * themselves. It begins with the newest that are there, goes on with what comes, and after an outage of any length goes
 * on after the last one that it brought; where the stream was lost and made anew, at that one's newest.
 */
export class StreamFollower {
  readonly #link: NatsLink;
  readonly #followed: FollowedStream;
  #place: Place | undefined;

  constructor(link: NatsLink, followed: FollowedStream) {
    this.#link = link;
    this.#followed = followed;
  }

  /**
   * Ends with the signal, and whenever NATS is back after it was away: then it is to be asked again, as after any fault.
   * `onCurrent` is called once all that was there has been brought. Throws UNAVAILABLE where NATS does not answer, and
   * INTERNAL / NATS_REFUSED where there is no such stream.
   */
  async *messages(
    signal: AbortSignal,
    onCurrent: () => void,
  ): AsyncGenerator<FollowedMessage, void, undefined> {
    const { connection } = this.#link;
    if (connection === undefined) throw natsUnreachable(this.#followed.what);
    const renewal = new AbortController();
    const forget = this.#link.onReturn(() => renewal.abort());
    try {
      const either = AbortSignal.any([signal, renewal.signal]);
      while (!either.aborted) yield* this.#untilLost(connection, either, onCurrent);
    } catch (thrown) {
      throw natsFault(thrown, this.#followed.what);
    } finally {
      forget();
    }
  }

  async *#untilLost(
    connection: NatsConnection,
    signal: AbortSignal,
    onCurrent: () => void,
  ): AsyncGenerator<FollowedMessage, void, undefined> {
    const { stream, subjects } = this.#followed;
    const place = await this.#findPlace(connection);
    const heardBefore = place.heard;
    const messages = await subscribeInOrder(connection, {
      stream,
      subjects,
      start: { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: place.heard + 1 },
      heartbeatMs: HEARTBEAT_MS,
    });
    let toCome = await countOf(messages);
    if (toCome === 0) onCurrent();
    for await (const message of untilSilent(connection, messages, signal)) {
      yield {
        subject: message.subject,
        messageId: message.headers?.get(MESSAGE_ID_HEADER) ?? "",
        data: message.data,
        position: message.seq,
        storedAtUnixMs: message.info.timestampNanos / 1e6,
      };
      place.heard = message.seq;
      if (toCome <= 0) continue;
      toCome = message.info.pending === 0 ? 0 : toCome - 1;
      if (toCome === 0) onCurrent();
    }
    if (place.heard === heardBefore) await waitMs(AGAIN_AFTER_MS, signal);
  }

  async #findPlace(connection: NatsConnection): Promise<Place> {
    const { streams } = await connection.jetstreamManager({ timeout: JETSTREAM_TIMEOUT_MS, checkAPI: false });
    const { created, state } = await streams.info(this.#followed.stream);
    const known = this.#place;
    if (known?.streamCreated === created && known.heard <= state.last_seq) return known;
    const place = { streamCreated: created, heard: Math.max(0, state.last_seq - this.#followed.atMost) };
    this.#place = place;
    return place;
  }
}
