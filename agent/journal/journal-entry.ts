import type { Fence } from "../../proto/epoch.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { HostId, InstanceId, MigrationId } from "../../proto/ids.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import type { PreparedNic } from "../device/nic-preparation.ts";

/** One line of a guest's journal on this host. */
export interface JournalEntry {
  readonly atUnixUs: number;
  readonly instanceId: InstanceId;
  readonly word: JournalWord;
}

/** What an agent must remember of a guest, whatever happens to the agent. */
export type JournalWord =
  /** The devices of the instance, as the control plane asked for them, and which of them this agent made. */
  | {
      readonly kind: "nicsPrepared";
      readonly nics: readonly NicDefinition[];
      readonly prepared: readonly PreparedNic[];
    }
  | { readonly kind: "adopted"; readonly qmpPath: string }
  /** The instance holds the right to run and will give it away under this epoch. */
  | {
      readonly kind: "armed";
      readonly fence: Fence;
      readonly migrationId: MigrationId;
      readonly destinationHostId: HostId;
    }
  /** The instance awaits the right to run under this epoch. */
  | {
      readonly kind: "prepared";
      readonly fence: Fence;
      readonly migrationId: MigrationId;
      readonly sourceHostId: HostId;
    }
  /** Stopped, deregistered, will not start again under this epoch. */
  | { readonly kind: "handedOff"; readonly handOff: HandOff }
  /** The instance has the right to run: the word came, and `cont` follows this line. */
  | { readonly kind: "contSent"; readonly fence: Fence }
  /** The instance has the right to run and stays stopped, as its owner had it. */
  | { readonly kind: "takenOverPaused"; readonly fence: Fence }
  /** The finished source is let go. */
  | { readonly kind: "released"; readonly fence: Fence };
