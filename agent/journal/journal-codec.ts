import type { Fence } from "../../proto/epoch.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import { readJson } from "../../proto/read-json.ts";
import type { JournalEntry, JournalWord } from "./journal-entry.ts";

/** One line of JSON with its newline; whole numbers beyond 2^53 are texts. */
export function encodeJournalEntry(entry: JournalEntry): string {
  const { word } = entry;
  const plain = word.kind === "handedOff" ? { kind: word.kind, handOff: HandOff.toJSON(word.handOff) } : word;
  return `${JSON.stringify({ ...entry, word: plain }, (_name, value: unknown) => (typeof value === "bigint" ? value.toString() : value))}\n`;
}

/**
 * Returns the entries of a journal's text and how many bytes of it are whole lines. A last line without its newline
 * was being written when the host died: its word never left, so it is dropped. Throws INTERNAL / JOURNAL_NEWER for a word
 * that only a newer agent knows, and JOURNAL_CORRUPT for anything else that cannot be read.
 */
export function decodeJournal(text: string): { entries: readonly JournalEntry[]; wholeBytes: number } {
  const end = text.lastIndexOf("\n") + 1;
  const lines = text.slice(0, end).split("\n").slice(0, -1);
  return {
    entries: lines.map((line, index) => decodeLine(line, index + 1)),
    wholeBytes: Buffer.byteLength(text.slice(0, end)),
  };
}

function decodeLine(line: string, lineNumber: number): JournalEntry {
  try {
    const entry = JSON.parse(line) as JournalEntry;
    return { ...entry, word: decodeWord(entry.word) };
  } catch (cause) {
    if (cause instanceof SwitchoverError) throw cause;
    throw new SwitchoverError("INTERNAL", `Line ${lineNumber} of the journal cannot be read.`, {
      reason: "JOURNAL_CORRUPT",
      metadata: { line: String(lineNumber) },
      cause,
    });
  }
}

function decodeWord(word: JournalWord): JournalWord {
  switch (word.kind) {
    case "nicsPrepared":
    case "nicAttached":
    case "nicDetached":
    case "adopted":
    case "vmmReported":
    case "forgotten":
      return word;
    case "handedOff":
      return { ...word, handOff: readJson(word.handOff, HandOff.fromJSON).value };
    case "armed":
    case "transferBegun":
    case "transferRefused":
    case "postCopyAsked":
    case "runStateNoted":
    case "prepared":
    case "incomingOpened":
    case "kept":
    case "contSent":
    case "started":
    case "takenOverPaused":
    case "handedBack":
    case "retaken":
    case "declined":
    case "fenceSeen":
    case "released":
      return { ...word, fence: decodeFence(word.fence) };
    default:
      throw newerWord(word);
  }
}

/** A word that this agent does not know may be the one that took the right to run away: nothing is done without it. */
function newerWord({ kind }: { readonly kind: string }): SwitchoverError {
  return new SwitchoverError("INTERNAL", `The journal has a word of a newer agent's, "${kind}".`, {
    reason: "JOURNAL_NEWER",
    metadata: { kind },
  });
}

function decodeFence(fence: Fence): Fence {
  return { epoch: BigInt(fence.epoch), revision: BigInt(fence.revision) };
}
