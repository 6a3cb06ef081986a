import { SwitchoverError } from "../../proto/error.ts";
import { feedMessageId } from "../../proto/subjects.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { FeedSpool } from "./feed-spool.ts";
import type { FeedStream, StoredMessage } from "./feed-stream.ts";
import type { SpooledEvent } from "./spooled-event.ts";

/** Subjects that have an event on its way at one time. */
const LANES_AT_ONCE = 32;
/** Subjects whose newest message is remembered; of others it is read again. */
const LANES_KEPT = 1_024;
const FIRST_WAIT_MS = 100;
const LAST_WAIT_MS = 2_000;

/** A subject without messages. */
const NONE: StoredMessage = { position: 0, messageId: "", sequence: 0n };

/** One subject's way to the stream. */
interface Lane {
  readonly subject: string;
  state: "idle" | "ready" | "sending" | "waiting";
  /** The subject's newest message. */
  newest: StoredMessage | "unread" | "in doubt";
  failures: number;
  cancelWait: () => void;
}

interface FeedPublisherParts {
  readonly spool: FeedSpool;
  readonly stream: FeedStream;
  readonly clock: Clock;
  readonly log: Log;
  /** The subject's numbers up to `taken` are a predecessor's: what was said under them since is said again. */
  readonly renumber: (subject: string, taken: bigint, predecessor: bigint) => void;
  /** Called whenever a subject has nothing left to send. */
  readonly onIdle: () => void;
}

/**
 * Brings what the spool holds to the stream: each event once, each subject in order, whatever happens to the agent, to
 * NATS or to the answers. An event is stored only as the next after the message that the publisher knows of; whenever
 * it does not know, it reads the subject's last message first. Subjects do not wait for each other.
 */
export class FeedPublisher {
  readonly #parts: FeedPublisherParts;
  readonly #lanes = new Map<string, Lane>();
  readonly #ready: Lane[] = [];
  #sending = 0;
  #state: "open" | "closed" = "open";

  constructor(parts: FeedPublisherParts) {
    this.#parts = parts;
  }

  /** There may be something unsent under the subject. */
  wake(subject: string): void {
    if (this.#state === "closed") return;
    const lane = this.#lanes.get(subject) ?? this.#open(subject);
    if (lane.state !== "idle") return;
    this.#makeReady(lane);
    this.#pump();
  }

  /** Begins nothing more. What is on its way may still be stored; the next publisher finds out. */
  close(): void {
    this.#state = "closed";
    for (const lane of this.#lanes.values()) lane.cancelWait();
    this.#lanes.clear();
    this.#ready.length = 0;
  }

  #open(subject: string): Lane {
    const lane: Lane = { subject, state: "idle", newest: "unread", failures: 0, cancelWait: () => {} };
    this.#lanes.set(subject, lane);
    if (this.#lanes.size > LANES_KEPT) {
      for (const [old, { state }] of this.#lanes) {
        if (state !== "idle" || old === subject) continue;
        this.#lanes.delete(old);
        break;
      }
    }
    return lane;
  }

  #makeReady(lane: Lane): void {
    lane.state = "ready";
    this.#ready.push(lane);
  }

  #pump(): void {
    while (this.#sending < LANES_AT_ONCE) {
      const lane = this.#ready.shift();
      if (lane === undefined) return;
      lane.state = "sending";
      this.#sending += 1;
      void this.#send(lane);
    }
  }

  async #send(lane: Lane): Promise<void> {
    const event = this.#parts.spool.nextUnsent(lane.subject);
    let outcome: "taken" | "failed" = "taken";
    try {
      if (event !== undefined) await this.#sendNext(lane, event);
      lane.failures = 0;
    } catch (thrown) {
      lane.newest = "in doubt";
      outcome = this.#judge(event, SwitchoverError.from(thrown));
    }
    this.#sending -= 1;
    if (this.#state === "closed") return;
    if (outcome === "failed") this.#wait(lane);
    else if (this.#parts.spool.nextUnsent(lane.subject) !== undefined) this.#makeReady(lane);
    else {
      lane.state = "idle";
      this.#parts.onIdle();
    }
    this.#pump();
  }

  /** One step: the event is stored, or is found to be, or the lane knows better where it is. Throws where neither. */
  async #sendNext(lane: Lane, event: SpooledEvent): Promise<void> {
    const { spool, stream } = this.#parts;
    const { subject } = lane;
    const body = spool.bodyOf(event);
    if (body === undefined) {
      spool.settle(event);
      return;
    }
    // A subject's first event finds none before it, or is told that it was overtaken.
    if (lane.newest === "unread" && event.sequence === 1n) lane.newest = NONE;
    if (typeof lane.newest === "string") {
      lane.newest = (await stream.last(subject)) ?? NONE;
      if (this.#state === "closed") return;
    }
    if (lane.newest.sequence >= event.sequence) {
      this.#settleUpTo(subject, lane.newest);
      return;
    }
    const messageId = feedMessageId(subject, event.origin, event.sequence);
    const appended = await stream.append({ subject, messageId, body }, lane.newest.position);
    if (this.#state === "closed") return;
    if (appended.t === "stored") {
      lane.newest = { position: appended.position, messageId, sequence: event.sequence };
      spool.settle(event);
    } else lane.newest = "in doubt";
  }

  /** The stream is as far as `last`: who numbered that has sent all before it, and whoever came later shares numbers. */
  #settleUpTo(subject: string, last: StoredMessage): void {
    const { spool } = this.#parts;
    const predecessor = originIn(last.messageId);
    let collided = false;
    for (
      let event = spool.nextUnsent(subject);
      event !== undefined && event.sequence <= last.sequence;
      event = spool.nextUnsent(subject)
    ) {
      if (event.origin > predecessor) collided = true;
      spool.settle(event);
    }
    if (collided) this.#parts.renumber(subject, last.sequence, predecessor);
  }

  /** One hopeless event must not stop those after it. */
  #judge(event: SpooledEvent | undefined, error: SwitchoverError): "taken" | "failed" {
    const fields = { subject: event?.subject, sequence: event?.sequence.toString(), reason: error.reason };
    if (event !== undefined && error.code === "INVALID_ARGUMENT") {
      this.#parts.log.error(fields, `An event cannot be sent: ${error.message}`);
      this.#parts.spool.settle(event);
      return "taken";
    }
    this.#parts.log.debug(fields, `An event is not stored yet: ${error.message}`);
    return "failed";
  }

  #wait(lane: Lane): void {
    const waitMs = Math.min(FIRST_WAIT_MS * 2 ** Math.min(lane.failures, 16), LAST_WAIT_MS);
    lane.failures += 1;
    lane.state = "waiting";
    lane.cancelWait = this.#parts.clock.after(waitMs, () => {
      this.#makeReady(lane);
      this.#pump();
    });
  }
}

function originIn(messageId: string): bigint {
  const [, origin = ""] = /:(\d+):\d+$/.exec(messageId) ?? [];
  return BigInt(origin === "" ? 0 : origin);
}
