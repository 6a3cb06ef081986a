/** What an agent's journal has of a guest, in the order in which an agent writes it. */
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import { DESTINATION, FENCE, MIGRATION } from "./guest-gate.ts";

/** A guest without NICs, under its agent's gate. */
export const ADOPTED: readonly JournalWord[] = [
  { kind: "nicsPrepared", nics: [], prepared: [] },
  { kind: "adopted", qmpPath: "/qmp" },
];

export const ARMED: JournalWord = {
  kind: "armed",
  fence: FENCE,
  migrationId: MIGRATION,
  destinationHostId: DESTINATION,
  mode: "live",
  pointOfNoReturn: "completed",
  runState: "running",
};

export const BEGUN: JournalWord = { kind: "transferBegun", fence: FENCE };
