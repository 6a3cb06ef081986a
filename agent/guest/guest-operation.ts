import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { JournalWord } from "../journal/journal-entry.ts";
import type { Guest } from "./guest.ts";
import type { GuestTimer, RunStatePurpose, TransferStatusPurpose } from "./guest-event.ts";

/**
 * What a guest's gate wants done, in this order. The runner does each at once and tells the result as an event:
 * kernel and journal within the same turn, the VMM's answers when they come.
 */
export type GuestOperation =
  /** From now on all NICs are those without these, which are left in quarantine. */
  | { readonly kind: "withholdNics"; readonly nicIds: readonly string[] }
  /** All NICs, one batch, read back; all or none. */
  | { readonly kind: "registerNics" }
  /** All NICs, one batch, each tried. */
  | { readonly kind: "deregisterNics" }
  /** Each NIC that is not as the gate last made it, for itself; read back. */
  | { readonly kind: "mendNics"; readonly registered: Guest["registration"] }
  /** Written before the next operation, synced after. */
  | { readonly kind: "journal"; readonly word: JournalWord }
  /**
   * Written as soon as the journal takes it, before any later word: what has happened all the same, and only an agent
   * that comes back asks for.
   */
  | { readonly kind: "journalWhenPossible"; readonly word: JournalWord }
  | { readonly kind: "publishHandOff"; readonly handOff: HandOff }
  | { readonly kind: "sendCont" }
  | { readonly kind: "sendStop" }
  | { readonly kind: "readRunState"; readonly purpose: RunStatePurpose }
  | { readonly kind: "readTransferStatus"; readonly purpose: TransferStatusPurpose }
  /** `migrate_cancel`; what comes of it is told by events and by the next answer to a question. */
  | { readonly kind: "cancelTransfer" }
  /** Shuts the transfer's connection down, as a broken network does (`yank`). */
  | { readonly kind: "breakTransfer" }
  /** `quit`. */
  | { readonly kind: "quitVmm" }
  | { readonly kind: "announce" }
  | { readonly kind: "setTimer"; readonly timer: GuestTimer; readonly delayMs: number }
  /** Devices the agent made are deleted, others left quarantined; nothing is heard of the instance after. */
  | { readonly kind: "releaseDevices" }
  /** To the feed and to followers; never in the way of anything else. */
  | { readonly kind: "publish"; readonly event: GuestFeedEvent };

export type GuestFeedEvent = NonNullable<FeedEvent["event"]>;

/** May throw or never return: the operation is then not carried out, nor any after it. */
export type BeforeOperation = (guest: Guest, operation: GuestOperation) => void;
