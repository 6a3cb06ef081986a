import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import type { JournalEntry, JournalWord } from "../journal/journal-entry.ts";
import type { WordOf } from "../journal/said-under.ts";
import type { Guest, Resident } from "./guest.ts";
import type { GuestOperation } from "./guest-operation.ts";
import type { Memory } from "./remember.ts";
import { told } from "./step.ts";

/** Nobody waits for news of a migration for longer; an agent that restarts does not tell its whole past. */
const TOLD_WITHIN_US = 24 * 60 * 60 * 1_000_000;

/**
 * What an agent journaled of its last migration and may have been killed before it could tell: told again, for a
 * coordinator may be waiting for it. One that has heard it learns nothing new.
 */
export function tellAgain(guest: Guest, memory: Memory, nowUnixUs: number): readonly GuestOperation[] {
  const newest = memory.said.at(-1);
  if (newest === undefined || memory.released === "released") return [];
  if (nowUnixUs - newest.atUnixUs > TOLD_WITHIN_US) return [];
  const { role } = guest;
  switch (role.kind) {
    case "relinquished":
      return [told({ $case: "handedOff", value: { handOff: role.handOff } })];
    case "fenced":
      return [told({ $case: "handedBack", value: { sentence: role.sentence } })];
    case "resident":
      return memory.claim?.kind === "armed" ? ofSource(guest, memory) : ofDestination(memory, role);
    default:
      return [];
  }
}

function ofSource({ cpus }: Guest, { said }: Memory): readonly GuestOperation[] {
  const retaken = lastOf(said, "retaken");
  if (retaken !== undefined) {
    const { runState } = retaken.word;
    return said.at(-1)?.word.kind === "started" || runState !== "running"
      ? [told({ $case: "sourceResumed", value: { runState } })]
      : [];
  }
  const kept = lastOf(said, "kept");
  if (kept === undefined) return [];
  const cpuState = cpus.kind === "running" ? CpuState.RUNNING : CpuState.STOPPED;
  return [told({ $case: "kept", value: { runState: kept.word.runState, cpuState } })];
}

/** A start that was journaled and not heard of is told when it is known: by the journal, or by a VMM that has got past it. */
function ofDestination({ said, standing }: Memory, role: Resident): readonly GuestOperation[] {
  if (lastOf(said, "takenOverPaused") !== undefined) {
    return [told({ $case: "takenOverPaused", value: { runState: "paused" } })];
  }
  const contSent = lastOf(said, "contSent");
  const isPast = standing.kind === "resident" && standing.start === "starting" && role.start === "none";
  const hasStarted = isPast || lastOf(said, "started") !== undefined;
  if (contSent === undefined || !hasStarted) return [];
  const value = { contSentAtUnixUs: BigInt(contSent.atUnixUs), resumedAtUnixUs: 0n };
  return [told({ $case: "cpusStarted", value })];
}

function lastOf<Kind extends JournalWord["kind"]>(
  said: readonly JournalEntry[],
  kind: Kind,
): { readonly atUnixUs: number; readonly word: WordOf<Kind> } | undefined {
  return said.findLast(
    (entry): entry is JournalEntry & { readonly word: WordOf<Kind> } => entry.word.kind === kind,
  );
}
