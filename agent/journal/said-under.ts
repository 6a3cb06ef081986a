import type { InstanceId } from "../../proto/ids.ts";
import { fenceOf } from "./journal.ts";
import type { JournalEntry, JournalWord } from "./journal-entry.ts";

export type WordOf<Kind extends JournalWord["kind"]> = Extract<JournalWord, { readonly kind: Kind }>;

/** Whether that instance has said a word of one of the kinds under the epoch. */
export function hasSaid(
  entries: readonly JournalEntry[],
  instanceId: InstanceId,
  epoch: bigint,
  ...kinds: readonly JournalWord["kind"][]
): boolean {
  return entries.some(
    (entry) =>
      entry.instanceId === instanceId &&
      kinds.includes(entry.word.kind) &&
      fenceOf(entry.word).epoch === epoch,
  );
}

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
