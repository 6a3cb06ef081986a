import type { Fence } from "../../proto/epoch.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { fenceOf } from "../journal/journal.ts";
import type { JournalEntry, JournalWord } from "../journal/journal-entry.ts";
import type { WordOf } from "../journal/said-under.ts";
import type { Guest, Resident } from "./guest.ts";
import type { GuestFeedEvent, GuestOperation } from "./guest-operation.ts";
import type { Memory } from "./remember.ts";
import { told } from "./step.ts";

/** Whether the feed has been told this of the guest since the word under that fence. False where nobody knows. */
export type WasTold = (guest: Guest, kind: GuestFeedEvent["$case"], since: Fence) => boolean;

/** Nobody waits for news of a migration for longer; an agent without a spool does not tell its whole past. */
const TOLD_WITHIN_US = 24 * 60 * 60 * 1_000_000;

/** What a journaled word is told by. */
interface News {
  readonly word: JournalWord;
  readonly event: GuestFeedEvent;
}

/**
 * What an agent journaled of its last migration and was killed before it could tell, for a coordinator may be waiting
 * for it. Nothing that the feed is known to have been told.
 */
export function tellAgain(
  guest: Guest,
  memory: Memory,
  wasTold: WasTold,
  nowUnixUs: number,
): readonly GuestOperation[] {
  const newest = memory.said.at(-1);
  if (newest === undefined || memory.released === "released") return [];
  if (nowUnixUs - newest.atUnixUs > TOLD_WITHIN_US) return [];
  const untold = newsOf(guest, memory).filter(
    ({ event, word }) => !wasTold(guest, event.$case, fenceOf(word)),
  );
  return untold.map(({ event }) => told(event));
}

function newsOf(guest: Guest, memory: Memory): readonly News[] {
  const { role } = guest;
  switch (role.kind) {
    case "relinquished": {
      const handedOff = lastOf(memory.said, "handedOff");
      if (handedOff === undefined) return [];
      return [{ word: handedOff.word, event: { $case: "handedOff", value: { handOff: role.handOff } } }];
    }
    case "fenced": {
      const handedBack = lastOf(memory.said, "handedBack");
      if (handedBack === undefined) return [];
      return [{ word: handedBack.word, event: { $case: "handedBack", value: { sentence: role.sentence } } }];
    }
    case "resident":
      return memory.claim?.kind === "armed" ? ofSource(guest, memory) : ofDestination(memory, role);
    default:
      return [];
  }
}

function ofSource({ cpus }: Guest, { said }: Memory): readonly News[] {
  const retaken = lastOf(said, "retaken");
  if (retaken !== undefined) {
    const { word } = retaken;
    const { runState } = word;
    return said.at(-1)?.word.kind === "started" || runState !== "running"
      ? [{ word, event: { $case: "sourceResumed", value: { runState } } }]
      : [];
  }
  const kept = lastOf(said, "kept");
  if (kept === undefined) return [];
  const cpuState = cpus.kind === "running" ? CpuState.RUNNING : CpuState.STOPPED;
  const { word } = kept;
  const keptNews: News = { word, event: { $case: "kept", value: { runState: word.runState, cpuState } } };
  const last = said.at(-1)?.word;
  if (last?.kind !== "started" || word.cpus === "running") return [keptNews];
  return [keptNews, { word: last, event: { $case: "sourceResumed", value: { runState: "running" } } }];
}

/** A start that was journaled and not heard of is told when it is known: by the journal, or by a VMM that has got past it. */
function ofDestination({ said, standing }: Memory, role: Resident): readonly News[] {
  const paused = lastOf(said, "takenOverPaused");
  if (paused !== undefined) {
    return [{ word: paused.word, event: { $case: "takenOverPaused", value: { runState: "paused" } } }];
  }
  const contSent = lastOf(said, "contSent");
  const isPast = standing.kind === "resident" && standing.start === "starting" && role.start === "none";
  const hasStarted = isPast || lastOf(said, "started") !== undefined;
  if (contSent === undefined || !hasStarted) return [];
  const value = { contSentAtUnixUs: BigInt(contSent.atUnixUs), resumedAtUnixUs: 0n };
  return [{ word: contSent.word, event: { $case: "cpusStarted", value } }];
}

function lastOf<Kind extends JournalWord["kind"]>(
  said: readonly JournalEntry[],
  kind: Kind,
): { readonly atUnixUs: number; readonly word: WordOf<Kind> } | undefined {
  return said.findLast(
    (entry): entry is JournalEntry & { readonly word: WordOf<Kind> } => entry.word.kind === kind,
  );
}
