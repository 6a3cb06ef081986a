import { FENCE_ZERO, type Fence } from "../../proto/epoch.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { InstanceId } from "../../proto/ids.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import type { PreparedNic } from "../device/nic-preparation.ts";
import { fenceOf } from "../journal/journal.ts";
import type { JournalEntry, JournalWord } from "../journal/journal-entry.ts";
import type { WordOf } from "../journal/said-under.ts";
import type { VmmReport } from "../vmm/vmm-report.ts";
import type { Incoming } from "./guest.ts";

/** What the journal says of one instance: enough to go on where a killed agent stood. */
export interface Memory {
  readonly instanceId: InstanceId;
  readonly nics: readonly NicDefinition[];
  readonly prepared: readonly PreparedNic[];
  /** Of those: attached while the guest is to be given away. */
  readonly waitingNicIds: readonly string[];
  /** Of those: the guest's source did not have them. */
  readonly withheldNicIds: readonly string[];
  /** Null before AdoptGuest. */
  readonly adopted: WordOf<"adopted"> | null;
  /** What the owner of its VMM told last; null where the agent drives the VMM. */
  readonly reported: VmmReport | null;
  readonly fence: Fence;
  /** The migration that the instance last took part in, and how. */
  readonly claim: WordOf<"armed"> | WordOf<"prepared"> | null;
  readonly standing: Standing;
  /** What was said since the claim, oldest first. */
  readonly said: readonly JournalEntry[];
  /** Where its VMM listened for its guest; null where it never did. */
  readonly incomingUri: string | null;
  readonly released: "kept" | "released";
}

/** Which right to run the journal's last words leave the instance with. */
export type Standing =
  /** Nothing of a migration was said: the VMM's own state tells. */
  | { readonly kind: "unclaimed" }
  | {
      readonly kind: "outgoing";
      readonly runState: string;
      readonly transfer: "notBegun" | "begun";
      readonly postCopy: "notAsked" | "asked";
    }
  | { readonly kind: "relinquished"; readonly handOff: HandOff }
  | { readonly kind: "incoming"; readonly wayBack: Incoming["wayBack"] }
  | { readonly kind: "fenced"; readonly sentence: string }
  /** `starting`: the guest's start was journaled and not that it ran; the time is that of the journal's line. */
  | { readonly kind: "resident"; readonly start: "done" }
  | { readonly kind: "resident"; readonly start: "starting"; readonly contSentAtUnixUs: number }
  /** Kept, or taken back, with the switchover's stop still to be undone. */
  | { readonly kind: "resident"; readonly start: "stoppedBySwitchover" };

/** The instances of one guest that are not done with, in the order in which they were prepared. */
export function remember(entries: readonly JournalEntry[]): readonly Memory[] {
  const memories = new Map<InstanceId, Memory>();
  for (const entry of entries) {
    const { instanceId, word } = entry;
    if (word.kind === "nicsPrepared") {
      memories.delete(instanceId);
      memories.set(instanceId, prepared(instanceId, word));
    } else if (word.kind === "forgotten") memories.delete(instanceId);
    else {
      const memory = memories.get(instanceId);
      if (memory !== undefined) memories.set(instanceId, withWord(memory, entry));
    }
  }
  return [...memories.values()];
}

/** The same of one instance; undefined where it is done with. */
export function memoryOf(entries: readonly JournalEntry[], instanceId: InstanceId): Memory | undefined {
  return remember(entries).find((memory) => memory.instanceId === instanceId);
}

function prepared(instanceId: InstanceId, { nics, prepared: devices }: WordOf<"nicsPrepared">): Memory {
  return {
    instanceId,
    nics,
    prepared: devices,
    waitingNicIds: [],
    withheldNicIds: [],
    adopted: null,
    reported: null,
    fence: FENCE_ZERO,
    claim: null,
    standing: { kind: "unclaimed" },
    said: [],
    incomingUri: null,
    released: "kept",
  };
}

function withWord(memory: Memory, entry: JournalEntry): Memory {
  const next = withWordSaid(memory, entry);
  const isStaying = next.standing.kind === "resident" && next.waitingNicIds.length > 0;
  return isStaying ? { ...next, waitingNicIds: [] } : next;
}

function withNic(memory: Memory, { nic, prepared }: WordOf<"nicAttached">): Memory {
  const without = withoutNic(memory, nic.nicId);
  const isLeaving = memory.standing.kind === "outgoing";
  return {
    ...without,
    nics: [...without.nics, nic],
    prepared: [...without.prepared, prepared],
    waitingNicIds: isLeaving ? [...without.waitingNicIds, nic.nicId] : without.waitingNicIds,
  };
}

function withoutNic(memory: Memory, nicId: string): Memory {
  return {
    ...memory,
    nics: memory.nics.filter((nic) => nic.nicId !== nicId),
    prepared: memory.prepared.filter((nic) => nic.nicId !== nicId),
    waitingNicIds: memory.waitingNicIds.filter((id) => id !== nicId),
    withheldNicIds: memory.withheldNicIds.filter((id) => id !== nicId),
  };
}

function withWordSaid(memory: Memory, entry: JournalEntry): Memory {
  const { word, atUnixUs } = entry;
  const fence = fenceOf(word);
  const fenced: Memory = fence === FENCE_ZERO ? memory : { ...memory, fence };
  switch (word.kind) {
    case "nicAttached":
      return withNic(memory, word);
    case "nicDetached":
      return withoutNic(memory, word.nicId);
    case "adopted":
      return { ...fenced, adopted: word, reported: word.external ?? null };
    case "vmmReported":
      return { ...memory, reported: word };
    case "armed":
    case "prepared":
      return {
        ...fenced,
        claim: word,
        released: "kept",
        said: [],
        standing: standingAfter(memory.standing, word, atUnixUs),
      };
    case "incomingOpened":
      return { ...fenced, incomingUri: word.incomingUri };
    case "released":
      return { ...fenced, released: "released" };
    case "fenceSeen":
      return fenced;
    default:
      return {
        ...fenced,
        withheldNicIds: withheldAfter(memory, word),
        said: [...memory.said, entry],
        standing: standingAfter(memory.standing, word, atUnixUs),
      };
  }
}

function withheldAfter({ withheldNicIds }: Memory, word: JournalWord): readonly string[] {
  const isTakingOver = word.kind === "contSent" || word.kind === "takenOverPaused";
  return isTakingOver ? (word.withheldNicIds ?? []) : withheldNicIds;
}

function wayBackAfter(standing: Standing): Incoming["wayBack"] {
  return standing.kind === "fenced" || (standing.kind === "incoming" && standing.wayBack === "none")
    ? "none"
    : "open";
}

function standingAfter(standing: Standing, word: JournalWord, atUnixUs: number): Standing {
  switch (word.kind) {
    case "armed":
      return { kind: "outgoing", runState: word.runState, transfer: "notBegun", postCopy: "notAsked" };
    case "transferBegun":
      return standing.kind === "outgoing" ? { ...standing, transfer: "begun" } : standing;
    case "transferRefused":
      return standing.kind === "outgoing" ? { ...standing, transfer: "notBegun" } : standing;
    case "postCopyAsked":
      return standing.kind === "outgoing" ? { ...standing, postCopy: "asked" } : standing;
    case "runStateNoted":
      if (standing.kind === "outgoing") return { ...standing, runState: word.runState };
      return standing.kind === "resident" ? { kind: "resident", start: "done" } : standing;
    case "handedOff":
      return { kind: "relinquished", handOff: word.handOff };
    case "kept":
      return word.runState === "running" && word.cpus === "stopped"
        ? { kind: "resident", start: "stoppedBySwitchover" }
        : { kind: "resident", start: "done" };
    case "prepared":
      // Whoever was handed back starts a guest of the same attempt only where its source cannot have it.
      return { kind: "incoming", wayBack: wayBackAfter(standing) };
    case "contSent":
      return { kind: "resident", start: "starting", contSentAtUnixUs: atUnixUs };
    case "retaken":
      return word.runState === "running"
        ? { kind: "resident", start: "starting", contSentAtUnixUs: atUnixUs }
        : { kind: "resident", start: "done" };
    case "started":
    case "takenOverPaused":
      return { kind: "resident", start: "done" };
    case "handedBack":
      return { kind: "fenced", sentence: word.sentence };
    default:
      return standing;
  }
}
