import type { ReceivedCommand } from "./command-witness.ts";
import type { SaidWord } from "./said-words.ts";

/** What a command waits for: what an agent says, or (of preparing) the answer to the command before. */
const CAUSES: Readonly<Record<string, readonly string[]>> = {
  switchToPostCopy: ["active"],
  getHandOff: ["handOffAwaited"],
  releaseSource: ["cpusStarted", "completed"],
};
const AFTER_ANSWERS: ReadonlySet<string> = new Set(["prepareDestination", "armSource", "beginTransfer"]);

interface Story {
  readonly saidAtUnixUs: Map<string, number>;
  readonly received: Set<string>;
  answeredAtUnixUs: number;
}

/**
 * The phase lag of each migration: from the moment in which an agent says what makes a command due, by whatever way the
 * coordinator hears it, to the moment in which that command is read from the socket of its agent. Both on one clock.
 * Beside it the step lag: from an agent's answer to the next command that waited for it. Milliseconds.
 */
export class PhaseLags {
  #phaseLagsMs: number[] = [];
  #stepLagsMs: number[] = [];
  readonly #stories = new Map<string, Story>();

  said({ guestId, word }: SaidWord, atUnixUs: number): void {
    this.#storyOf(guestId).saidAtUnixUs.set(word, atUnixUs);
  }

  received({ atUnixUs, guestId, name }: ReceivedCommand): void {
    const story = this.#storyOf(guestId);
    // What is driven again after an answer that was lost is no news.
    if (story.received.has(name) && name !== "preflight") return;
    story.received.add(name);
    if (AFTER_ANSWERS.has(name)) this.#stepLagsMs.push((atUnixUs - story.answeredAtUnixUs) / 1_000);
    const saidAt = (CAUSES[name] ?? []).flatMap((cause) => story.saidAtUnixUs.get(cause) ?? []);
    if (saidAt.length > 0) this.#phaseLagsMs.push((atUnixUs - Math.max(...saidAt)) / 1_000);
  }

  answered({ guestId }: ReceivedCommand, atUnixUs: number): void {
    this.#storyOf(guestId).answeredAtUnixUs = atUnixUs;
  }

  /** Those that were measured since the last time. */
  take(): { readonly phaseLagsMs: readonly number[]; readonly stepLagsMs: readonly number[] } {
    const taken = { phaseLagsMs: this.#phaseLagsMs, stepLagsMs: this.#stepLagsMs };
    this.#phaseLagsMs = [];
    this.#stepLagsMs = [];
    return taken;
  }

  forget(guestId: string): void {
    this.#stories.delete(guestId);
  }

  #storyOf(guestId: string): Story {
    const known = this.#stories.get(guestId);
    if (known !== undefined) return known;
    const story: Story = { saidAtUnixUs: new Map(), received: new Set(), answeredAtUnixUs: 0 };
    this.#stories.set(guestId, story);
    return story;
  }
}
