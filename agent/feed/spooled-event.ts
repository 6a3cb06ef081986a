import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { SpoolPlace } from "./spool-segments.ts";

/** The event's own comes before any in what it tells. */
const SAID_AT = /"atUnixUs":"(\d+)"/;

/** One numbered event in the spool's index, with its text as long as that is in memory. */
export class SpooledEvent {
  readonly subject: string;
  readonly origin: bigint;
  readonly sequence: bigint;
  /** By the event's own word; 0 where a predecessor's cannot be read. Microseconds, Unix. */
  readonly saidAtUnixUs: number;
  event: FeedEvent | undefined;
  /** `event` as proto3 JSON. */
  body: string | undefined;
  /** Where the text is on disk; undefined where the disk did not take it. */
  place: SpoolPlace | undefined;
  /** Settled: the stream holds it, or never will. */
  fate: "unsent" | "settled" = "unsent";
  /** Followers and the publisher may have it. */
  revealed = false;
  /** Whether it was given a second number. */
  told: "once" | "again" = "once";

  private constructor(subject: string, origin: bigint, sequence: bigint, saidAtUnixUs: number) {
    this.subject = subject;
    this.origin = origin;
    this.sequence = sequence;
    this.saidAtUnixUs = saidAtUnixUs;
  }

  static said(subject: string, origin: bigint, event: FeedEvent): SpooledEvent {
    const said = new SpooledEvent(subject, origin, event.sequence, Number(event.atUnixUs));
    said.event = event;
    said.body = JSON.stringify(FeedEvent.toJSON(event));
    return said;
  }

  /** What a predecessor said, as its spool has it: `body` is read, and not kept. */
  static found(
    subject: string,
    origin: bigint,
    sequence: bigint,
    place: SpoolPlace,
    body: string,
  ): SpooledEvent {
    const [, saidAtUnixUs = 0] = SAID_AT.exec(body) ?? [];
    const found = new SpooledEvent(subject, origin, sequence, Number(saidAtUnixUs));
    found.place = place;
    found.revealed = true;
    return found;
  }

  forgetText(): void {
    this.event = undefined;
    this.body = undefined;
  }
}
