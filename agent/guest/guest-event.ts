import type { Fence } from "../../proto/epoch.ts";
import type { HandOffRoute, VmmReported } from "../../proto/gen/switchover/v1/feed.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { HostId, MigrationId } from "../../proto/ids.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import type { PreparedNic } from "../device/nic-preparation.ts";
import type { MigrationMode, PointOfNoReturn } from "./guest.ts";

/** What a guest's gate can hear. `atUnixUs` is when the agent heard it. */
export type GuestEvent = { readonly atUnixUs: number } & (
  | VmmHeard
  | KernelAnswered
  | WordHeard
  | TimerFired
  | Ordered
);

/** From the VMM, by event or in answer to a question. */
export type VmmHeard =
  | { readonly kind: "cpusStopped"; readonly stoppedAtUnixUs: number }
  /** `wakeup`: the guest had suspended itself, and its VMM woke it. */
  | { readonly kind: "cpusResumed"; readonly resumedAtUnixUs: number; readonly by?: "wakeup" }
  /** The VMM says that a suspended guest was woken; whether its CPUs run is to be asked. */
  | { readonly kind: "wakeupHeard" }
  | { readonly kind: "vmmReported"; readonly report: VmmReported }
  | { readonly kind: "transferStatusChanged"; readonly status: string }
  | { readonly kind: "runStateRead"; readonly purpose: RunStatePurpose; readonly runState: string }
  | { readonly kind: "transferStatusRead"; readonly purpose: TransferStatusPurpose; readonly status: string }
  | { readonly kind: "contSent" }
  /** `unknown`: the VMM did not say, and may start the CPUs yet; that it refused may be said after that. */
  | { readonly kind: "contRefused"; readonly outcome: "refused" | "unknown"; readonly sentence: string }
  /** The VMM's process is gone, and the CPUs with it. */
  | { readonly kind: "vmmLost"; readonly sentence: string };

/** Why the run state was asked for: the answer is used for nothing else. */
export type RunStatePurpose = "stopCause" | "readiness" | "rollback" | "wakeup" | "lateWord";
export type TransferStatusPurpose = "pointOfNoReturn" | "keep";

export type KernelAnswered =
  /** `sentAtUnixUs`: when they were handed to the kernel. */
  | { readonly kind: "nicsRegistered"; readonly sentAtUnixUs: number }
  | { readonly kind: "nicsRegistrationRefused"; readonly sentence: string }
  | { readonly kind: "nicsDeregistered" }
  | { readonly kind: "nicsDeregistrationRefused"; readonly sentence: string }
  /** Read in the kernel: the NICs are not as the gate last made them. */
  | { readonly kind: "registrationDrifted"; readonly reason: string; readonly sentence: string }
  | { readonly kind: "nicsMended" }
  | {
      readonly kind: "nicsMendingFailed";
      /** `missing`: a device or its bridge is not there. */
      readonly cause: "missing" | "refused";
      readonly sentence: string;
    };

export type WordHeard = {
  readonly kind: "handOffReceived";
  readonly handOff: HandOff;
  readonly route: HandOffRoute;
};

export type TimerFired = { readonly kind: "timerFired"; readonly timer: GuestTimer };
export type GuestTimer =
  | "handOffOverdue"
  | "retryDeregistration"
  | "retryRegistration"
  | "readReadinessAgain"
  /** The guest was handed off 10 s ago and its VMM is not ready. */
  | "readyOverdue"
  | "readKeepAgain"
  | "readRollbackAgain"
  /** A guest that may stay registered for what stopped it: nobody knows that yet. */
  | "stopUnexplained"
  /** A VMM that was told to save its guest is still at it. */
  | "readStopCauseAgain"
  /** A guest that is to run again could not be started. */
  | "startAgain"
  /** CPUs without the right to run still run. */
  | "stopAgain"
  | "quitAgain"
  /** The journal did not take a word of the guest: perhaps it does now. */
  | "wordAgain"
  | "mendRegistration";

/** Orders that the agent has already admitted: their fence is not older than the guest's. */
export type Ordered =
  | {
      readonly kind: "sourceArmed";
      readonly fence: Fence;
      readonly migrationId: MigrationId;
      readonly mode: MigrationMode;
      readonly destinationHostId: HostId;
      readonly pointOfNoReturn: PointOfNoReturn;
    }
  | {
      readonly kind: "destinationPrepared";
      readonly fence: Fence;
      readonly migrationId: MigrationId;
      readonly mode: MigrationMode;
      readonly sourceHostId: HostId;
      readonly bootId: string;
    }
  /** A command was admitted: what is older comes too late from now on. */
  | { readonly kind: "commandAdmitted"; readonly fence: Fence }
  | { readonly kind: "startOrdered" }
  | { readonly kind: "stopOrdered" }
  /** `migrate` is sent next. */
  | { readonly kind: "transferOrdered"; readonly fence: Fence }
  /** The VMM refused it. */
  | { readonly kind: "transferRefused"; readonly fence: Fence }
  /** `migrate-start-postcopy` is sent next. */
  | { readonly kind: "postCopyOrdered"; readonly fence: Fence }
  /** The guest is to stay, if it is not too late. */
  | { readonly kind: "keepOrdered"; readonly fence: Fence }
  /** The guest that was kept is to run again; the destination is fenced. */
  | { readonly kind: "resumeOrdered"; readonly fence: Fence }
  /** The destination gave its word: the right to run is here again. */
  | { readonly kind: "retakeOrdered"; readonly fence: Fence }
  /** The journal has forgotten whether the right is here, and the caller knows: with what its owner had the guest do. */
  | { readonly kind: "reclaimOrdered"; readonly fence: Fence; readonly runState: string }
  | { readonly kind: "declineOrdered"; readonly fence: Fence }
  /** Never to be started under the epoch; the VMM ends at once, in post-copy once the source does not need it. */
  | { readonly kind: "handBackOrdered"; readonly fence: Fence }
  /** As that, and its devices go with the VMM, which ends now. */
  | { readonly kind: "abortOrdered"; readonly fence: Fence }
  | { readonly kind: "releaseOrdered"; readonly fence: Fence }
  /** Hot-plug: the device is prepared, in quarantine. */
  | { readonly kind: "nicAttached"; readonly nic: NicDefinition; readonly prepared: PreparedNic }
  /** Hot-unplug: the NIC is deregistered. */
  | { readonly kind: "nicDetached"; readonly nicId: string };
