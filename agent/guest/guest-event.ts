import type { Fence } from "../../proto/epoch.ts";
import type { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import type { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { HostId, MigrationId } from "../../proto/ids.ts";
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
  | { readonly kind: "cpusResumed"; readonly resumedAtUnixUs: number }
  | { readonly kind: "transferStatusChanged"; readonly status: string }
  | { readonly kind: "runStateRead"; readonly purpose: RunStatePurpose; readonly runState: string }
  | { readonly kind: "transferStatusRead"; readonly status: string }
  | { readonly kind: "contSent" }
  | { readonly kind: "contRefused"; readonly sentence: string }
  /** The VMM's process is gone, and the CPUs with it. */
  | { readonly kind: "vmmLost"; readonly sentence: string };

/** Why the run state was asked for: the answer is used for nothing else. */
export type RunStatePurpose = "stopCause" | "readiness";

export type KernelAnswered =
  | { readonly kind: "nicsRegistered" }
  | { readonly kind: "nicsRegistrationRefused"; readonly sentence: string }
  | { readonly kind: "nicsDeregistered" }
  | { readonly kind: "nicsDeregistrationRefused"; readonly sentence: string };

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
  | "readReadinessAgain";

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
    }
  | { readonly kind: "startOrdered" }
  | { readonly kind: "stopOrdered" }
  | { readonly kind: "releaseOrdered"; readonly fence: Fence };
