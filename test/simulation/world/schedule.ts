import type { Grain } from "../engine/grain.ts";
import type { QemuVersion } from "../model/qemu.ts";

/** All that a run consists of; with its seed, which decides every delay, it makes one run and no other. */
export interface Schedule {
  readonly seed: number;
  /** "fine" where it is not said. */
  readonly grain?: Grain;
  readonly coordinators: 1 | 2;
  /** So many taps on the bridge, where nothing is said of the wiring. */
  readonly nics: 1 | 2;
  /** What each of the guest's NICs is. */
  readonly wiring?: readonly NicKind[];
  /** Whether coordinators hear agents by the feed, too, or only by their own streams. */
  readonly feed: "heard" | "away";
  readonly qemu: QemuVersion;
  /** Pauses for which agents let the guest stay registered; none where it is not said. */
  readonly staysRegisteredFor?: readonly string[];
  /** About how long a live copy takes, and the rest of the pages in post-copy. */
  readonly copyUs: number;
  readonly pagesUs: number;
  /**
   * What an operator brings under the gate again on a host whose state directory was lost: what runs, all that lives, or
   * all that lives as soon as the agent is back. "running" where it is not said.
   */
  readonly adoptedAgain?: "running" | "living" | "livingAtOnce";
  /** How long coordinators try to reach an agent before they give the command up: 30 s, or 0.8 s. "long" where it is not said. */
  readonly patience?: "long" | "short";
  readonly migrations: readonly PlannedMigration[];
  readonly faults: readonly Fault[];
}

export const NIC_KINDS = [
  "tap",
  "kernelTap",
  "overlayTap",
  "macvtap",
  "passthrough",
  "routedTap",
  "unmanaged",
] as const;
/**
 * `kernelTap`: on a bridge whose table the kernel manages; `overlayTap`: on a bridge that filters VLANs and snoops, with all
 * that can go along with an address; `passthrough`: a macvtap that has its parent to itself.
 */
export type NicKind = (typeof NIC_KINDS)[number];

export function wiringOf({ nics, wiring }: Pick<Schedule, "nics" | "wiring">): readonly NicKind[] {
  return wiring ?? Array.from({ length: nics }, () => "tap");
}

export interface PlannedMigration {
  readonly mode: "live" | "postCopy";
  /** Which of the hosts that the guest is not on. */
  readonly to: 0 | 1;
  /** What its owner has the guest do when the migration begins. */
  readonly guest: "running" | "stopped";
  /** When post-copy moves the CPUs; 0: at once. */
  readonly postCopyAfterMs: number;
  /** What its owner does to the guest's NICs before: plugs one more in, or the last one out. */
  readonly plugs?: "out" | NicKind;
}

export const MARKS = [
  "asked",
  "prepared",
  "armed",
  "transferring",
  "sourceStopped",
  "sourceCompleted",
  "handedOff",
  "loaded",
  "contSent",
  "resumed",
] as const;
export type Mark = (typeof MARKS)[number];

/** A moment of a run: so long after the so-manyth migration reached a mark. */
export interface When {
  readonly migration: number;
  readonly mark: Mark;
  readonly afterUs: number;
}

export type Side = "source" | "destination";

/** What goes wrong, or is done by people. `forUs`: until it is undone. */
export type Fault = { readonly when: When } & (
  | { readonly kind: "agentKilled"; readonly side: Side; readonly forUs: number }
  /** At the n-th operation of the gates on that side after the moment. */
  | {
      readonly kind: "agentKilledAtOperation";
      readonly side: Side;
      readonly operation: number;
      readonly forUs: number;
    }
  | { readonly kind: "agentStopped"; readonly side: Side; readonly forUs: number }
  | { readonly kind: "coordinatorKilled"; readonly coordinator: 0 | 1; readonly forUs: number }
  | { readonly kind: "natsKilled"; readonly forUs: number }
  | { readonly kind: "qemuKilled"; readonly side: Side }
  | { readonly kind: "qemuStopped"; readonly side: Side; readonly forUs: number }
  | { readonly kind: "hostCrashed"; readonly side: Side; readonly forUs: number }
  | { readonly kind: "streamReset" }
  | { readonly kind: "streamStalled"; readonly forUs: number }
  /** A host is cut off from everybody on the control network. */
  | { readonly kind: "hostCutOff"; readonly side: Side; readonly forUs: number }
  /** A host, or all coordinators, cut off from NATS alone. */
  | { readonly kind: "natsCutOff"; readonly side: Side | "coordinator"; readonly forUs: number }
  | {
      readonly kind: "linksTroubled";
      readonly lost: number;
      readonly twice: number;
      readonly delayUs: number;
      readonly forUs: number;
    }
  /** Requests to agents come a second time, up to so long after the first. */
  | { readonly kind: "callsRepeated"; readonly delayUs: number; readonly forUs: number }
  | { readonly kind: "diskFull"; readonly side: Side; readonly forUs: number }
  /** The agent dies, and the one that follows finds an empty state directory. */
  | { readonly kind: "stateLost"; readonly side: Side; readonly forUs: number }
  /**
   * Somebody undoes what delivers the guest's frames to it on a side: removes its entry on the bridge, or points it to the
   * uplink; takes a macvtap down, or its parent; and the like for every kind of NIC.
   */
  | { readonly kind: "entryFlushed"; readonly side: Side }
  | { readonly kind: "entryTaken"; readonly side: Side }
  /** Somebody removes the routes to the guest on a side, of which the kernel tells nobody. */
  | { readonly kind: "routesRemoved"; readonly side: Side }
  /** Whoever changes a side's bridge does it so fast that the kernel drops what it would tell of it, for so long. */
  | { readonly kind: "changesLost"; readonly side: Side; readonly forUs: number }
  /** A side's bridge is deleted, and made anew after so long. */
  | { readonly kind: "bridgeRecreated"; readonly side: Side; readonly forUs: number }
  /** A NIC is plugged into a side's instance, or its last one out of it, whatever the other side has. */
  | { readonly kind: "nicPlugged"; readonly side: Side; readonly nic: NicKind }
  | { readonly kind: "nicUnplugged"; readonly side: Side }
  /** The guest's owner changes its mind. */
  | { readonly kind: "ownerStops" }
  | { readonly kind: "ownerStarts" }
  | { readonly kind: "cancelAsked" }
  | { readonly kind: "postCopyAsked" }
  /** A post-copy transfer is paused, and recovered after. */
  | { readonly kind: "pauseAsked"; readonly forUs: number }
  /** Somebody else sends `cont` to a side's monitor. */
  | { readonly kind: "strangerConts"; readonly side: Side }
  /** A running guest is stopped at a side's monitor, or by its VMM for a disk's error, and started, and so on. */
  | {
      readonly kind: "cpusToggled";
      readonly side: Side;
      readonly runState: "paused" | "io-error";
      readonly times: number;
      readonly everyUs: number;
    }
  /** A command that a newer one has overtaken comes to the side's instance after all. */
  | { readonly kind: "commandOvertaken"; readonly side: Side; readonly command: OvertakenCommand }
  /** An operator powers a host off and says so. */
  | { readonly kind: "hostDeclaredDead"; readonly side: Side; readonly forUs: number }
  /** An operator says where the migration is to end. */
  | { readonly kind: "sourceResumeAsked" }
  | { readonly kind: "guestGivenUp" }
);

export const OVERTAKEN_COMMANDS = [
  "prepareDestination",
  "armSource",
  "cancelTransfer",
  "abortDestination",
  "handBack",
  "resumeSource",
] as const;
export type OvertakenCommand = (typeof OVERTAKEN_COMMANDS)[number];

export type FaultKind = Fault["kind"];
