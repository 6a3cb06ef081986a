import type { ServerResponse } from "node:http";
import type { Beat } from "../page/wire.ts";
import type { ChangeLog, ChangeSlice } from "../view/change-log.ts";

/** Changes of one message. */
const SLICE = 500;
/** How long changes are gathered for. */
const GATHER_MS = 100;
/** Between two messages that say that both ends are there, and when hosts were heard of. */
const BEAT_MS = 5_000;
/** A reader whose connection takes nothing for so long is dropped; it comes back when it can. */
const SLOW_MS = 10_000;
/** What a page waits before it asks again. */
const RETRY_MS = 1_000;

export interface EventStreamTimes {
  readonly gatherMs: number;
  readonly beatMs: number;
  readonly slowMs: number;
}

export interface EventStreamPorts {
  readonly changes: ChangeLog;
  readonly beat: () => Beat;
  /** Tells this process's revisions from another's: ids of messages are `INSTANCE-REVISION`. */
  readonly instance: string;
  readonly readersAtMost: number;
  readonly times?: EventStreamTimes;
}

interface Reader {
  readonly response: ServerResponse;
  /** What it was sent so far. */
  revision: number;
  /** Runs while its connection takes no more. */
  slow: NodeJS.Timeout | undefined;
}

/**
 * The page's streams of server-sent events. A message's id is the revision up to which its reader knows all, so a reader
 * that gives it back (Last-Event-ID) misses nothing, and one that gives an id of another process begins anew.
 *
 * No reader has a queue: what it has not been sent is in the log, which holds each key once. A connection holds one
 * message, and gets the next one when it has taken that.
 */
export class EventStreams {
  readonly #ports: EventStreamPorts;
  readonly #times: EventStreamTimes;
  readonly #readers = new Set<Reader>();
  readonly #beats: NodeJS.Timeout;
  #gathering: NodeJS.Timeout | undefined;
  /** Readers mostly stand at the same revision. */
  #last: { readonly after: number; readonly at: number; readonly slice: ChangeSlice } | undefined;

  constructor(ports: EventStreamPorts) {
    this.#ports = ports;
    this.#times = ports.times ?? { gatherMs: GATHER_MS, beatMs: BEAT_MS, slowMs: SLOW_MS };
    this.#beats = setInterval(() => this.#beat(), this.#times.beatMs);
  }

  get readerCount(): number {
    return this.#readers.size;
  }

  /** What each reader's connection has not taken yet. */
  heldBytes(): readonly number[] {
    return [...this.#readers].map(({ response }) => response.writableLength);
  }

  /** Whether there is room for one more. */
  get hasRoom(): boolean {
    return this.#readers.size < this.#ports.readersAtMost;
  }

  /** Sends what has changed after the id, and what changes from now on, until either end closes. */
  add(response: ServerResponse, lastEventId: string): void {
    const reader: Reader = { response, revision: this.#revisionOf(lastEventId), slow: undefined };
    this.#readers.add(reader);
    response.on("close", () => this.#forget(reader));
    response.on("error", () => this.#forget(reader));
    response.on("drain", () => {
      clearTimeout(reader.slow);
      reader.slow = undefined;
      this.#pump(reader);
    });
    this.#send(reader, `retry: ${RETRY_MS}\n\n`);
    this.#pump(reader, "first");
    this.#send(reader, this.#beatMessage());
  }

  /** Something has changed. */
  changed(): void {
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined;
      for (const reader of this.#readers) this.#pump(reader);
    }, this.#times.gatherMs);
  }

  /** Ends all streams. */
  close(): void {
    clearInterval(this.#beats);
    clearTimeout(this.#gathering);
    for (const reader of this.#readers) reader.response.destroy();
  }

  #revisionOf(lastEventId: string): number {
    const [, instance = "", revision = ""] = /^([0-9a-z]{1,32})-(\d{1,15})$/.exec(lastEventId) ?? [];
    return instance === this.#ports.instance ? Number(revision) : 0;
  }

  /** The first message is sent also where it has nothing to say but that the page is to begin anew. */
  #pump(reader: Reader, which: "first" | "next" = "next"): void {
    for (let isFirst = which === "first"; reader.slow === undefined; isFirst = false) {
      const { changes, from, more, revision } = this.#after(reader.revision);
      if (changes.length === 0 && !isFirst) {
        reader.revision = revision;
        return;
      }
      reader.revision = revision;
      const data = `{"from":"${from}","more":${more},"changes":[${changes.join(",")}]}`;
      this.#send(reader, `id: ${this.#ports.instance}-${revision}\nevent: changes\ndata: ${data}\n\n`);
      if (!more) return;
    }
  }

  #after(revision: number): ChangeSlice {
    const { changes } = this.#ports;
    const known = this.#last;
    if (known !== undefined && known.after === revision && known.at === changes.revision) return known.slice;
    const slice = changes.after(revision, SLICE);
    this.#last = { after: revision, at: changes.revision, slice };
    return slice;
  }

  #beat(): void {
    const message = this.#beatMessage();
    for (const reader of this.#readers) if (reader.slow === undefined) this.#send(reader, message);
  }

  #beatMessage(): string {
    return `event: beat\ndata: ${JSON.stringify(this.#ports.beat())}\n\n`;
  }

  #send(reader: Reader, text: string): void {
    if (reader.response.write(text) || reader.slow !== undefined) return;
    reader.slow = setTimeout(() => reader.response.destroy(), this.#times.slowMs);
  }

  #forget(reader: Reader): void {
    clearTimeout(reader.slow);
    this.#readers.delete(reader);
  }
}
