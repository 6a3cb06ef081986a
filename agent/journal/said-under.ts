import { fenceOf } from "./journal.ts";
import type { JournalEntry, JournalWord } from "./journal-entry.ts";

export type WordOf<Kind extends JournalWord["kind"]> = Extract<JournalWord, { readonly kind: Kind }>;

/** The word of that kind that this host has said about the guest under the epoch, whichever instance it was about. */
export function saidUnder<Kind extends JournalWord["kind"]>(
  entries: readonly JournalEntry[],
  epoch: bigint,
  kind: Kind,
): WordOf<Kind> | undefined {
  return entries.findLast(
    (entry): entry is JournalEntry & { readonly word: WordOf<Kind> } =>
      entry.word.kind === kind && fenceOf(entry.word).epoch === epoch,
  )?.word;
}
