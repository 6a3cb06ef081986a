import { compareFences, FENCE_ZERO, type Fence } from "../../proto/epoch.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { readJson } from "../../proto/read-json.ts";
import type { GuestFeedEvent } from "../guest/guest-operation.ts";

/** The events that a journaled word is told by; somebody may be waiting for them. */
const WORDS = ["cpusStarted", "handedBack", "handedOff", "kept", "sourceResumed", "takenOverPaused"] as const;
/** In an event's JSON; a text's own quotes have a backslash before them. */
const NAMES_A_WORD = new RegExp(`"(${WORDS.join("|")})":\\{`);
/** Of those that were told last: far more than a host has guests. Of one that is forgotten it is told again. */
const KEPT = 16_384;

/** Whose event it is: a Guest, or what a FeedEvent says of one. */
interface Teller {
  readonly hostId: string;
  readonly guestId: string;
  readonly instanceId: string;
  readonly fence: Fence | undefined;
}

/**
 * Which journaled words the feed has been told, by this agent, in the spool or held back on its way there, or by a
 * predecessor whose spool this one found. What is not here may have been told all the same: by one whose spool is lost,
 * was full, or has let go of what the stream had.
 */
export class ToldWords {
  /** The newest fence that each was told under. */
  readonly #fences = new Map<string, Fence>();

  /** Takes in what a predecessor spooled, as proto3 JSON; a text that is none tells nothing. */
  recover(body: string): void {
    if (!NAMES_A_WORD.test(body)) return;
    try {
      const event = readJson(JSON.parse(body), FeedEvent.fromJSON).value;
      if (event.event !== undefined) this.note(event, event.migrationId, event.event);
    } catch {}
  }

  note(teller: Teller, migrationId: string, event: GuestFeedEvent): void {
    if (!isWord(event)) return;
    const key = keyOf(teller, migrationId, event.$case);
    const { fence = FENCE_ZERO } = teller;
    const before = this.#fences.get(key) ?? FENCE_ZERO;
    this.#fences.delete(key);
    this.#fences.set(key, compareFences(fence, before) > 0 ? fence : before);
    if (this.#fences.size <= KEPT) return;
    for (const oldest of this.#fences.keys()) {
      this.#fences.delete(oldest);
      return;
    }
  }

  /** Whether the event was told under the word's fence or a newer one: an instance's fence only grows. */
  has(teller: Teller, migrationId: string, kind: GuestFeedEvent["$case"], since: Fence): boolean {
    const told = this.#fences.get(keyOf(teller, migrationId, kind));
    return told !== undefined && compareFences(told, since) >= 0;
  }
}

/** A start that no `cont` of ours began is no word's. */
function isWord(event: GuestFeedEvent): boolean {
  if (event.$case === "cpusStarted") return event.value.contSentAtUnixUs !== 0n;
  return WORDS.some((word) => word === event.$case);
}

function keyOf({ hostId, guestId, instanceId }: Teller, migrationId: string, kind: string): string {
  return `${hostId} ${guestId} ${instanceId} ${migrationId} ${kind}`;
}
