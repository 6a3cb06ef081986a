/**
 * The feed's stream as those who write to it see it: for each subject a row of messages, each added only as the next
 * after the one that its writer knows of. However many writers a subject has, and whatever they heard of their
 * attempts, nothing is stored twice or between two messages that belong together.
 *
 * Both methods throw within a second or so: UNAVAILABLE / NATS_UNREACHABLE where nothing was done, UNAVAILABLE /
 * OUTCOME_UNKNOWN where that is not known, INVALID_ARGUMENT where the message is at fault and no repetition helps.
 */
export interface FeedStream {
  /** The newest message of the subject; null where there is none, or none any more. */
  last(subject: string): Promise<StoredMessage | null>;
  /**
   * Stores the message as the next after the one at `after`; 0 where the subject must have none. "overtaken": another
   * one is there by now, and nothing was done. A message that is there already is not stored again: "stored", at its
   * position, where the stream looks at its id first (`Nats-Msg-Id`; nats-server 2.9 and 2.10), "overtaken" where it
   * looks at what was expected first (2.15).
   */
  append(message: FeedMessage, after: number): Promise<Appended>;
}

export interface FeedMessage {
  readonly subject: string;
  readonly messageId: string;
  /** A FeedEvent as proto3 JSON. */
  readonly body: string;
}

export interface StoredMessage {
  /** Above 0, and above that of any message stored before. */
  readonly position: number;
  readonly messageId: string;
  /** `sequence` of its FeedEvent. */
  readonly sequence: bigint;
}

export type Appended = { readonly t: "stored"; readonly position: number } | { readonly t: "overtaken" };
