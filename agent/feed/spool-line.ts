/**
 * The spool's lines. An event's is `event SUBJECT ORIGIN SEQUENCE BODY`; `mark SUBJECT LAST STORED` says how far a
 * subject is numbered, and up to where the stream has its events.
 */
export type SpoolLine =
  | {
      readonly kind: "event";
      readonly subject: string;
      /** Tells apart who gave a number, where one was given twice. */
      readonly origin: bigint;
      readonly sequence: bigint;
      /** A FeedEvent as proto3 JSON. */
      readonly body: string;
    }
  | { readonly kind: "mark"; readonly subject: string; readonly last: bigint; readonly stored: bigint };

const EVENT = /^event (\S+) (\d+) (\d+) (\{.*\})$/;
const MARK = /^mark (\S+) (\d+) (\d+)$/;

/** With its newline. Of an event's line the body ends one byte before the end. */
export function encodeSpoolLine(line: SpoolLine): string {
  if (line.kind === "mark") return `mark ${line.subject} ${line.last} ${line.stored}\n`;
  return `event ${line.subject} ${line.origin} ${line.sequence} ${line.body}\n`;
}

/** A line without its newline; null where it is none. */
export function decodeSpoolLine(text: string): SpoolLine | null {
  const event = EVENT.exec(text);
  if (event !== null) {
    const [, subject = "", origin = "", sequence = "", body = ""] = event;
    return { kind: "event", subject, origin: BigInt(origin), sequence: BigInt(sequence), body };
  }
  const mark = MARK.exec(text);
  if (mark === null) return null;
  const [, subject = "", last = "", stored = ""] = mark;
  return { kind: "mark", subject, last: BigInt(last), stored: BigInt(stored) };
}
