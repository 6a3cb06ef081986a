import type { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";

interface LastStatus {
  readonly status: string;
  readonly atUnixUs: bigint;
  /** Whether the agent that told it had told none before. */
  readonly isFirst: boolean;
}

/** A destination says it each time that it listens for the rest of a paused transfer. */
const LISTENING = "setup";

const CONCERNED =
  /"(transferStatusChanged|cpusStopped|cpusStarted|destinationReady|registrationDrifted|handedOff|kept|sourceResumed|takenOverPaused)":/;

/** When it happened, of what cannot happen twice at one time; 0n where an agent that came back cannot know that. */
function instantIn({ event }: FeedEvent): bigint {
  switch (event?.$case) {
    case "cpusStopped":
      return event.value.stoppedAtUnixUs;
    case "cpusStarted":
      return event.value.resumedAtUnixUs;
    case "destinationReady":
      return event.value.readyAtUnixUs;
    case "registrationDrifted":
      return event.value.noticedAtUnixUs;
    default:
      return 0n;
  }
}

/** What a journaled word is told by. Not a hand-back: it answers each word that comes to a fenced destination. */
function isWord({ event }: FeedEvent): boolean {
  switch (event?.$case) {
    case "handedOff":
    case "kept":
    case "sourceResumed":
    case "takenOverPaused":
      return true;
    case "cpusStarted":
      return event.value.contSentAtUnixUs !== 0n;
    default:
      return false;
  }
}

/** A guest that runs in a migration may be stopped and started by its owner: each time with a time of its own. */
function mayBeAnother({ event }: FeedEvent): boolean {
  return event?.$case === "cpusStarted" && event.value.resumedAtUnixUs !== 0n;
}

/**
 * Finds what agents tell twice. An instance does one thing at one time, so the same thing with the same time was told
 * again; a VMM says no status twice in a row. What a journaled word became is told once an epoch, also by an agent that
 * comes back, but for one whose disk lost what it had told, or never had it.
 */
export class ToldOnce {
  readonly #told = new Set<string>();
  readonly #words = new Set<string>();
  readonly #statuses = new Map<string, LastStatus>();

  /** Whether a FeedEvent, as proto3 JSON, may be such a thing: most are not, and need not be read. */
  concerns(body: string): boolean {
    return CONCERNED.test(body);
  }

  /**
   * In words, where this was told before; `lifeBeganUnixUs`: when the agent that told it was started, whose words may come
   * late, when a next one lives. `disk`: whether its host's has all that was told, and why.
   */
  repeated(event: FeedEvent, lifeBeganUnixUs: bigint, disk: "has all" | "lost words"): string | null {
    const { hostId, instanceId, migrationId, event: told } = event;
    const who = `${hostId}/${instanceId}`;
    if (isWord(event)) {
      const epoch = event.fence?.epoch ?? 0n;
      const key = `${who} ${migrationId} ${told?.$case} ${epoch}`;
      const isAgain = this.#words.has(key) && !mayBeAnother(event);
      if (isAgain && disk === "has all") return `${who} was told twice: ${told?.$case} in epoch ${epoch}.`;
      this.#words.add(key);
    }
    if (told?.$case === "transferStatusChanged") {
      const { status } = told.value;
      const subject = `${who} ${event.migrationId}`;
      const last = this.#statuses.get(subject);
      const isFirst = last === undefined || last.atUnixUs < lifeBeganUnixUs;
      this.#statuses.set(subject, { status, atUnixUs: event.atUnixUs, isFirst });
      // What an agent that comes back reads of a VMM, it may hear from it at the same time.
      const isAgain = last?.status === status && !isFirst && !last.isFirst && status !== LISTENING;
      return isAgain ? `${who} was told to be ${status} twice in a row.` : null;
    }
    const instant = instantIn(event);
    if (instant === 0n) return null;
    const key = `${who} ${told?.$case} ${instant}`;
    if (this.#told.has(key)) return `${who} was told twice: ${told?.$case} at ${instant}.`;
    this.#told.add(key);
    return null;
  }
}
