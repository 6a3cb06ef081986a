import { SwitchoverError } from "../../proto/error.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { HostId } from "../../proto/ids.ts";
import { readJson } from "../../proto/read-json.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { subjectOf } from "./feed-subject.ts";
import { decodeSpoolLine, encodeSpoolLine } from "./spool-line.ts";
import { type SpoolPlace, SpoolSegments } from "./spool-segments.ts";
import type { SpoolStore } from "./spool-store.ts";
import { SpoolTopics, type Topic } from "./spool-topics.ts";
import { SpooledEvent } from "./spooled-event.ts";

export type NewEvent = Omit<FeedEvent, "sequence">;

/** Bytes. What the stream has is kept for followers up to `keep`. */
export interface SpoolLimits {
  readonly segment: number;
  readonly keep: number;
  /** From here on progress is no longer told: nobody acts on what was never said, and no number is missing. */
  readonly tight: number;
  /** From here on events are in memory alone, the newest 1,024; the feed never gets those that this pushes out. */
  readonly full: number;
}

const MIB = 1024 * 1024;
const DEFAULT_LIMITS: SpoolLimits = { segment: MIB, keep: 8 * MIB, tight: 48 * MIB, full: 64 * MIB };
/** Events whose text stays in memory, for they are read again at once. */
const RECENT = 1_024;
const UNSPOOLED_LIMIT = 1_024;

const NOTHING: readonly SpooledEvent[] = [];

interface FeedSpoolParts {
  readonly hostId: HostId;
  readonly store: SpoolStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits?: SpoolLimits;
  /** Called for each event that a predecessor left, in order, with its text as proto3 JSON. */
  readonly onFound?: (body: string) => void;
}

/**
 * All that this agent has said and is not done with: numbered per subject, from 1 and without gaps over restarts, and
 * spooled before anybody hears of it. Nothing that a killed agent had said is lost; what was synced survives the host.
 *
 * Memory holds an index, the newest 1,024 events, and what the spool had no room for.
 */
export class FeedSpool {
  readonly #parts: FeedSpoolParts;
  readonly #limits: SpoolLimits;
  readonly #segments: SpoolSegments;
  readonly #topics: SpoolTopics;
  readonly #recent: SpooledEvent[] = [];
  /** What the disk did not take, the newest 1,024. */
  readonly #unspooled: SpooledEvent[] = [];
  readonly #unmarked = new Set<Topic>();
  #room: "roomy" | "tight" | "full" = "roomy";

  /** Reads what is there; throws UNAVAILABLE / SPOOL_UNWRITABLE where it cannot be read. */
  constructor(parts: FeedSpoolParts) {
    this.#parts = parts;
    this.#limits = parts.limits ?? DEFAULT_LIMITS;
    this.#segments = new SpoolSegments(parts.store, this.#limits.segment);
    this.#topics = new SpoolTopics(() => parts.clock.unixUs());
    this.#recover();
  }

  /** How many events the stream is not known to hold. */
  get unsent(): number {
    return this.#topics.all().reduce((sum, { unsent }) => sum + unsent, 0);
  }

  /** When the oldest of those was said; null where there is none. Microseconds, Unix. */
  get oldestUnsentUnixUs(): number | null {
    return this.#topics.oldestUnsentUnixUs();
  }

  /** The subjects of those. */
  unsentSubjects(): readonly string[] {
    return this.#topics
      .all()
      .filter(({ unsent }) => unsent > 0)
      .map(({ subject }) => subject);
  }

  /**
   * Numbers the events and spools them in one write; never throws. They are for nobody's ears before `sync`. What the
   * disk does not take is told all the same, with an alarm in the log: a migration must not wait for the feed.
   */
  append(said: readonly NewEvent[]): readonly SpooledEvent[] {
    const isTight = this.#segments.bytes >= this.#limits.tight;
    const heard = isTight ? said.filter(({ event }) => event?.$case !== "transferProgressed") : said;
    if (isTight) this.#find("tight", "The feed's spool is nearly full: progress is no longer told.");
    const events = heard.map((event) => {
      const topic = this.#topics.take(subjectOf(event, this.#parts.hostId));
      topic.last += 1n;
      const spooled = SpooledEvent.said(topic.subject, topic.origin, numbered(event, topic.last));
      topic.events.push(spooled);
      topic.unsent += 1;
      return spooled;
    });
    if (events.length > 0) this.#spool(events);
    return events;
  }

  /** Offers the disk again what it refused, and returns what it does now. The spool's own limit is not asked again. */
  offerUnspooled(): "takes" | "refuses" {
    if (this.#unspooled.length === 0 || this.#segments.bytes >= this.#limits.full) return "takes";
    try {
      this.#writeUnspooled();
      return "takes";
    } catch {
      return "refuses";
    }
  }

  /** Resolves once all that was appended outlives the host; rejects where the disk refuses. */
  async sync(): Promise<void> {
    await this.#segments.sync();
    this.#trim();
  }

  /** From now on followers and the publisher may have these. */
  reveal(events: readonly SpooledEvent[]): void {
    for (const event of events) event.revealed = true;
  }

  /** The last number given under the subject; 0 where none was. */
  lastSequence(subject: string): bigint {
    return this.#topics.find(subject)?.last ?? 0n;
  }

  /** Up to which number what was said after `sequence` is no longer here; `sequence` where nothing is missing next. */
  forgottenAfter(subject: string, sequence: bigint): bigint {
    const topic = this.#topics.find(subject);
    if (topic === undefined) return sequence;
    const next = topic.events[firstAfter(topic.events, sequence)];
    if (next === undefined) return topic.last > sequence ? topic.last : sequence;
    const isLost = next.revealed && next.event === undefined && this.bodyOf(next) === undefined;
    return isLost ? next.sequence : next.sequence - 1n;
  }

  /** Up to `limit` revealed events with a higher number, as far as they are kept, in order. */
  eventsAfter(subject: string, sequence: bigint, limit: number): readonly FeedEvent[] {
    const kept = this.#topics.find(subject)?.events ?? [];
    const first = firstAfter(kept, sequence);
    const events: FeedEvent[] = [];
    for (let index = first; index < kept.length && events.length < limit; index += 1) {
      const spooled = kept[index];
      if (spooled === undefined || !spooled.revealed) break;
      const event = spooled.event ?? this.#decode(spooled);
      if (event !== undefined) events.push(event);
    }
    return events;
  }

  /** The first revealed event of the subject that the stream is not known to hold. */
  nextUnsent(subject: string): SpooledEvent | undefined {
    const topic = this.#topics.find(subject);
    if (topic === undefined) return undefined;
    while (topic.events[topic.firstUnsent]?.fate === "settled") topic.firstUnsent += 1;
    const next = topic.events[topic.firstUnsent];
    return next?.revealed ? next : undefined;
  }

  /** undefined where it cannot be read any more. */
  bodyOf(event: SpooledEvent): string | undefined {
    return event.body ?? (event.place === undefined ? undefined : this.#segments.read(event.place));
  }

  /** The stream has the event, or never will: the spool owes it to nobody but followers. */
  settle(event: SpooledEvent): void {
    if (event.fate === "settled") return;
    event.fate = "settled";
    const topic = this.#topics.find(event.subject);
    if (topic !== undefined) {
      topic.unsent -= 1;
      topic.stored = event.sequence;
      this.#unmarked.add(topic);
    }
    if (event.place !== undefined) this.#segments.count(event.place, -1);
    this.#trim();
  }

  /** Nobody has room for the event: what was said before it may be in the spool, and is owed as before. */
  #lose(event: SpooledEvent): void {
    event.fate = "settled";
    const topic = this.#topics.find(event.subject);
    if (topic !== undefined) topic.unsent -= 1;
  }

  /**
   * The subject's numbers up to `taken` were given by a predecessor whose spool is lost. Tells again, under new
   * numbers, what was said under them by anybody later than `predecessor`. Idempotent.
   */
  renumber(subject: string, taken: bigint, predecessor?: bigint): readonly SpooledEvent[] {
    const topic = this.#topics.take(subject);
    const before = predecessor ?? topic.origin - 1n;
    if (topic.last < taken) topic.last = taken;
    const collided = topic.events.filter(
      ({ origin, sequence, told }) => told === "once" && origin > before && sequence <= taken,
    );
    const again = collided.flatMap((spooled) => {
      spooled.told = "again";
      const event = spooled.event ?? this.#decode(spooled);
      return event === undefined ? [] : [event];
    });
    return this.append(again);
  }

  /**
   * Writes down what the disk had no room for, and how far the stream is known to hold each subject; what is lost of
   * that is asked of the stream again.
   */
  mark(): void {
    if (this.#unmarked.size === 0 && this.#unspooled.length === 0) return;
    try {
      this.#writeUnspooled();
      this.#segments.append(this.#takeMarks(NOTHING), () => this.#header(NOTHING));
    } catch (thrown) {
      this.#warn(thrown);
    }
  }

  close(): void {
    this.mark();
    this.#segments.close();
  }

  #recover(): void {
    let damaged = 0;
    const marks = new Map<string, { readonly last: bigint; readonly stored: bigint }>();
    this.#segments.recover((text, place) => {
      const line = decodeSpoolLine(text);
      if (line === null) damaged += 1;
      else if (line.kind === "mark") marks.set(line.subject, line);
      else {
        const { subject, origin, sequence, body } = line;
        const bytes = Buffer.byteLength(body);
        const at: SpoolPlace = { segment: place.segment, from: place.from + place.bytes - bytes, bytes };
        this.#topics.recover(SpooledEvent.found(subject, origin, sequence, at, body));
        this.#parts.onFound?.(body);
      }
    });
    for (const [subject, mark] of marks) this.#topics.recoverMark(subject, mark);
    this.#topics.endRecovery();
    for (const { place, fate } of this.#topics.all().flatMap(({ events }) => events)) {
      if (fate === "unsent" && place !== undefined) this.#segments.count(place, 1);
    }
    if (damaged > 0) {
      const fields = { host_id: this.#parts.hostId, reason: "FEED_SPOOL_DAMAGED", lines: damaged };
      this.#parts.log.error(fields, "Lines of the feed's spool cannot be read; their events are lost.");
    }
  }

  #spool(events: readonly SpooledEvent[]): void {
    try {
      this.#writeUnspooled();
      this.#write(events);
    } catch (thrown) {
      this.#keepUnspooled(events, thrown);
    }
  }

  /** What the disk had no room for goes first; one event tells whether it has now. */
  #writeUnspooled(): void {
    for (let count = 1; this.#unspooled.length > 0; count = this.#unspooled.length) {
      this.#write(this.#unspooled.slice(0, count));
      this.#unspooled.splice(0, count);
    }
  }

  /** In one write; throws where the disk refuses. */
  #write(events: readonly SpooledEvent[]): void {
    const marks = this.#takeMarks(events);
    let text = marks;
    let from = Buffer.byteLength(marks);
    const places = events.map(({ subject, origin, sequence, body = "" }) => {
      const line = encodeSpoolLine({ kind: "event", subject, origin, sequence, body });
      const bytes = Buffer.byteLength(body);
      text += line;
      from += Buffer.byteLength(line);
      return { from: from - 1 - bytes, bytes };
    });
    if (this.#segments.bytes >= this.#limits.full) throw noRoom(this.#limits.full);
    const begin = this.#segments.append(text, () => this.#header(events));
    for (const [index, event] of events.entries()) {
      const { from = 0, bytes = 0 } = places[index] ?? {};
      event.place = { segment: begin.segment, from: begin.from + from, bytes };
      if (event.fate === "unsent") this.#segments.count(event.place, 1);
    }
    this.#remember(events);
    if (this.#segments.bytes < this.#limits.tight) this.#room = "roomy";
  }

  #remember(events: readonly SpooledEvent[]): void {
    this.#recent.push(...events);
    for (const old of this.#recent.splice(0, Math.max(0, this.#recent.length - RECENT))) old.forgetText();
  }

  #keepUnspooled(events: readonly SpooledEvent[], thrown: unknown): void {
    const { message } = SwitchoverError.from(thrown);
    this.#find("full", `The feed's spool takes no more events; a killed agent loses them. ${message}`);
    this.#unspooled.push(...events);
    const dropped = this.#unspooled.splice(0, Math.max(0, this.#unspooled.length - UNSPOOLED_LIMIT));
    if (dropped.length === 0) return;
    const lost = dropped.filter(({ fate }) => fate === "unsent");
    for (const event of lost) this.#lose(event);
    const gone = new Set(dropped);
    this.#topics.forgetEvents((event) => gone.has(event));
    if (lost.length === 0) return;
    const fields = { host_id: this.#parts.hostId, reason: "FEED_EVENTS_LOST", lost: lost.length };
    this.#parts.log.error(fields, "Events will be missing from the feed.");
  }

  #find(room: "tight" | "full", sentence: string): void {
    if (this.#room === room || this.#room === "full") return;
    this.#room = room;
    this.#parts.log.error({ host_id: this.#parts.hostId, reason: "FEED_SPOOL_FULL" }, sentence);
  }

  #decode(event: SpooledEvent): FeedEvent | undefined {
    const body = this.bodyOf(event);
    return body === undefined ? undefined : readJson(JSON.parse(body), FeedEvent.fromJSON).value;
  }

  #takeMarks(follow: readonly SpooledEvent[]): string {
    const marks = marksOf([...this.#unmarked], [...follow, ...this.#unspooled]);
    this.#unmarked.clear();
    return marks;
  }

  #header(follow: readonly SpooledEvent[]): string {
    return marksOf(this.#topics.all(), [...follow, ...this.#unspooled]);
  }

  #trim(): void {
    try {
      const removed = this.#segments.trim(this.#limits.keep);
      if (removed !== undefined) this.#topics.forgetEvents(({ place }) => place?.segment === removed);
    } catch (thrown) {
      this.#warn(thrown);
    }
  }

  #warn(thrown: unknown): void {
    const { message, reason } = SwitchoverError.from(thrown);
    this.#parts.log.warn({ host_id: this.#parts.hostId, reason }, `The feed's spool: ${message}`);
  }
}

/** The index of the first of them with a higher number. */
function firstAfter(kept: readonly SpooledEvent[], sequence: bigint): number {
  let first = kept.length;
  while (first > 0 && (kept[first - 1]?.sequence ?? 0n) > sequence) first -= 1;
  return first;
}

/** Field by field, for what is spread has a hidden class of its own; one that is told again has a number already. */
function numbered(event: NewEvent, sequence: bigint): FeedEvent {
  return {
    migrationId: event.migrationId,
    guestId: event.guestId,
    hostId: event.hostId,
    instanceId: event.instanceId,
    fence: event.fence,
    sequence,
    atUnixUs: event.atUnixUs,
    traceparent: event.traceparent,
    tracestate: event.tracestate,
    event: event.event,
  };
}

/** How far the topics are before `follow`, which may be torn off, and before what was not written at all. */
function marksOf(topics: readonly Topic[], follow: readonly SpooledEvent[]): string {
  const next = new Map<string, bigint>();
  for (const { subject, sequence } of follow) if (!next.has(subject)) next.set(subject, sequence);
  return topics
    .map(({ subject, last, stored }) => ({ subject, last: (next.get(subject) ?? last + 1n) - 1n, stored }))
    .filter(({ last }) => last > 0n)
    .map((mark) => encodeSpoolLine({ kind: "mark", ...mark }))
    .join("");
}

function noRoom(bytes: number): SwitchoverError {
  return new SwitchoverError("RESOURCE_EXHAUSTED", `It holds its limit of ${bytes} bytes.`, {
    reason: "FEED_SPOOL_FULL",
  });
}
