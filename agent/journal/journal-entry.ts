import type { Fence } from "../../proto/epoch.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { HostId, InstanceId, MigrationId } from "../../proto/ids.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import type { PreparedNic } from "../device/nic-preparation.ts";
import type { MigrationMode, PointOfNoReturn } from "../guest/guest.ts";
import type { VmmProcess } from "../vmm/vmm-process.ts";
import type { VmmReport } from "../vmm/vmm-report.ts";

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
  /** A NIC more, of a later call. */
  | { readonly kind: "nicAttached"; readonly nic: NicDefinition; readonly prepared: PreparedNic }
  | { readonly kind: "nicDetached"; readonly nicId: string }
  | {
      readonly kind: "adopted";
      readonly qmpPath: string;
      /** Its VMM waited for an incoming guest: whatever becomes of it, the instance never had one. */
      readonly waits?: true;
      /**
       * Its VMM stood after a switchover, or had sent or received its guest past one: that may be another host's. With
       * `waits`: it listened or loaded already, so that what comes in may be.
       */
      readonly switched?: true;
      /** Where it could be seen: tells a dead VMM from one that does not answer. */
      readonly process?: VmmProcess;
      /** Names the host's run that the process, and the devices, belong to. */
      readonly bootId?: string;
      /** Its owner drives it, and told this of it; `qmpPath` is empty then. */
      readonly external?: VmmReport & { readonly incomingUri: string };
    }
  /** What the owner of a VMM that it drives itself told next. */
  | ({ readonly kind: "vmmReported" } & VmmReport)
  /** The instance holds the right to run and will give it away under this epoch. */
  | {
      readonly kind: "armed";
      readonly fence: Fence;
      readonly migrationId: MigrationId;
      readonly destinationHostId: HostId;
      readonly mode: MigrationMode;
      readonly pointOfNoReturn: PointOfNoReturn;
      /** QEMU's run state when armed. */
      readonly runState: string;
    }
  /** `migrate` was sent after this line. */
  | { readonly kind: "transferBegun"; readonly fence: Fence }
  /** The VMM refused that `migrate`, and has begun none under this epoch. */
  | { readonly kind: "transferRefused"; readonly fence: Fence }
  /** `migrate-start-postcopy` was sent after this line. */
  | { readonly kind: "postCopyAsked"; readonly fence: Fence }
  /** An armed guest's owner stopped or started it: this run state goes into the word. */
  | { readonly kind: "runStateNoted"; readonly fence: Fence; readonly runState: string }
  /** The instance awaits the right to run under this epoch. */
  | {
      readonly kind: "prepared";
      readonly fence: Fence;
      readonly migrationId: MigrationId;
      readonly sourceHostId: HostId;
      readonly mode: MigrationMode;
      /** Names the host's run: after another boot the journal may lack what was written and not synced. */
      readonly bootId: string;
    }
  /** The VMM listens there for its guest. */
  | { readonly kind: "incomingOpened"; readonly fence: Fence; readonly incomingUri: string }
  /** Stopped, deregistered, will not start again under this epoch. */
  | { readonly kind: "handedOff"; readonly handOff: HandOff }
  /** Never handed off under this epoch, and never will be: the guest stays, in the run state that its owner gave it. */
  | {
      readonly kind: "kept";
      readonly fence: Fence;
      readonly runState: string;
      readonly cpus: "running" | "stopped";
    }
  /** The instance has the right to run: the word came, and `cont` follows this line. */
  | ({ readonly kind: "contSent"; readonly fence: Fence } & Withheld)
  /** The CPUs ran after that: who stops them from now on has a reason of its own. */
  | { readonly kind: "started"; readonly fence: Fence }
  /** The instance has the right to run and stays stopped, as its owner had it. */
  | ({ readonly kind: "takenOverPaused"; readonly fence: Fence } & Withheld)
  /** Never started under this epoch, and never will be. */
  | { readonly kind: "handedBack"; readonly fence: Fence; readonly sentence: string }
  /** The destination handed back: the right to run is here again under this higher epoch. */
  | { readonly kind: "retaken"; readonly fence: Fence; readonly runState: string }
  /** A command under this fence was admitted: what is older changes nothing. */
  | { readonly kind: "fenceSeen"; readonly fence: Fence }
  /** The right to run was offered back and not taken: it never is under this epoch. */
  | { readonly kind: "declined"; readonly fence: Fence }
  /** The finished source is let go. */
  | { readonly kind: "released"; readonly fence: Fence }
  /** The instance is done with; nothing of it is brought back after a restart. */
  | { readonly kind: "forgotten" };

interface Withheld {
  /** NICs that are prepared here and that the source's word did not name: they stay quarantined. Absent: none. */
  readonly withheldNicIds?: readonly string[];
}
