/**
 * What a device type is: pure plans of kernel requests, and judgements of the kernel's answers.
 *
 * A type sees neither sockets nor clocks, so the requests of all NICs of a guest go to the kernel in one batch
 * (`nic-set.ts`), and a simulation runs the same code on a pretended kernel.
 *
 *     prepare    absent or as found -> quarantined     before a QEMU is created, or before it is incoming
 *     start      quarantined -> registered, read back  just before the CPUs start
 *     stop       registered -> quarantined             as soon as the CPUs have stopped
 *     verify     judges what the kernel holds          at any time; changes nothing
 *     mend       as others left it -> a port, up       before start or stop put right what drifted
 *     release    quarantined -> as found or absent     when the guest is gone from the host
 *
 * *Quarantined*: no registration, nothing flooded to the guest, nothing learned from it, nothing sent by the host.
 * Each plan may be carried out again at any time with the same end.
 */
import type { IpPrefix } from "../../proto/ip-prefix.ts";
import type { MacAddress } from "../../proto/mac-address.ts";
import type { KernelChange } from "../netlink/kernel-change.ts";
import type { Link, LinkFilter } from "../netlink/link.ts";
import type { MulticastGroup } from "../netlink/multicast.ts";
import type { RouteResult } from "../netlink/route-port.ts";
import type { RouteRequest } from "../netlink/route-request.ts";
import type { NicDefinition } from "./nic-definition.ts";
import type { Inherited } from "./tap-creation.ts";

/** Something that a NIC met; `field` is the part of its definition at fault, as the proto names it. */
export interface NicProblem {
  /** UPPER_SNAKE_CASE; the kernel's error name where nothing says it better. */
  readonly reason: string;
  readonly sentence: string;
  readonly field?: string;
}

/** The links that a NIC's definition names, as the kernel showed them; those that do not exist are missing. */
export type SeenLinks = ReadonlyMap<string, Link>;

/** Where a NIC is in this kernel. A device that was created again is another place under the same name. */
export interface NicPlace {
  readonly deviceIfindex: number;
  /** The bridge of a tap, the parent of a macvtap; 0 for devices without one. */
  readonly parentIfindex: number;
  /** The VXLAN device that a NIC's definition names; missing where it is not there, or none is named. */
  readonly overlayIfindex?: number;
  /** VLANs of the definition that the port is not in; missing where there are none. */
  readonly missingVlans?: readonly number[];
}

/** A NIC and where its device is. */
export interface PlacedNic<Nic extends NicDefinition> {
  readonly nic: Nic;
  readonly place: NicPlace;
}

/** What a definition may ask for beyond its device, by the proto's names; each type says which it takes. */
export type NicExtra = "additional_mac_addresses";

export type Located =
  | { readonly found: "yes"; readonly place: NicPlace }
  | { readonly found: "no"; readonly problem: NicProblem };

/** A device that has to be made before anything can be asked of it. */
export type DeviceCreation =
  | { readonly by: "tun"; readonly deviceName: string }
  | { readonly by: "link"; readonly deviceName: string; readonly request: RouteRequest };

export type StartOutcome =
  | { readonly result: "started" }
  /** The device needs nothing from this host's kernel. */
  | { readonly result: "nothingToDo" }
  | { readonly result: "failed"; readonly problem: NicProblem };

export type StopOutcome =
  | { readonly result: "removed" }
  /** The device needs nothing from this host's kernel. */
  | { readonly result: "nothingToDo" }
  /** Nothing was there to remove: stopped before, or the device or the bridge is gone. */
  | { readonly result: "alreadyGone" }
  /** Another port has the address; what it holds is not ours to remove. */
  | { readonly result: "elsewhere"; readonly ifindex: number }
  | { readonly result: "failed"; readonly problem: NicProblem };

export type VerifyOutcome =
  /** All that `start` makes is there. */
  | { readonly registration: "registered" }
  /** All that `prepare` and `stop` make is there. */
  | { readonly registration: "quarantined" }
  /** The device needs neither. */
  | { readonly registration: "unmanaged" }
  /** Neither of the two: what keeps it from being registered, and what from being quarantined. */
  | {
      readonly registration: "drifted";
      readonly problems: readonly NicProblem[];
      readonly quarantineProblems: readonly NicProblem[];
    }
  /**
   * The device is gone, or is not where the definition says; `left` is what keeps one that strayed (`find-nics.ts`) from
   * being quarantined.
   */
  | { readonly registration: "absent"; readonly problem: NicProblem; readonly left?: NicProblem };

/** What a gate makes of its guest's NICs. */
export type Registered = "registered" | "quarantined";

/** A plan and the judgement of its answers, which come one a request and in its order. */
export interface DeviceOperation<Nic extends NicDefinition, Outcome> {
  plan(nic: Nic, place: NicPlace): readonly RouteRequest[];
  judge(nic: Nic, place: NicPlace, results: readonly RouteResult[]): Outcome;
}

/** The first part, after which nothing is registered any more, and the rest of the stop, which may be put off. */
export interface StopInParts<Nic extends NicDefinition> extends DeviceOperation<Nic, StopOutcome> {
  /** Whether the first part has the kernel wait too: it comes after all that does not. */
  takes(nic: Nic): "noTime" | "gracePeriods";
  rest(nic: Nic, place: NicPlace): readonly RouteRequest[];
}

/** Whose device it is, and so what releasing it leaves behind. */
export interface DeviceOwnership {
  readonly device: "created" | "existing";
  readonly port: "attached" | "existing";
  /** Of a parent that the device has to itself. */
  readonly parent?: ParentAsFound;
}

/** A parent as it was before its device was prepared. */
export interface ParentAsFound {
  readonly state: "up" | "down";
  readonly macAddress?: MacAddress;
  readonly addrGenMode?: "eui64";
}

/** What for a host is asked whether it can have a NIC: to be prepared there, to get its running guest, or to give it away. */
export type Occasion = "prepare" | "arrive" | "leave";

/** What is known of a host beside its links. */
export interface AskedOfHost {
  /** To `DevicePreparation.ask`. */
  readonly answers: readonly RouteResult[];
  /** What a device has that is to be made; undefined where that is not known. */
  readonly inherited?: Inherited | undefined;
}

export interface DevicePreparation<Nic extends NicDefinition> {
  /** What `refusals` has to know beside the links that the definition names, all of it read; for types that have to. */
  readonly ask?: (nic: Nic, links: SeenLinks) => readonly RouteRequest[];
  /** Why the NIC cannot be prepared or moved here, judged by what exists and by what was asked. */
  refusals(nic: Nic, links: SeenLinks, asked: AskedOfHost, occasion: Occasion): readonly NicProblem[];
  /** What has to be created first; undefined where the device exists or the kernel is to be asked by `plan`. */
  creation(nic: Nic, links: SeenLinks): DeviceCreation | undefined;
  /** Into quarantine; `before` and `after` are what existed before and after `creation`. */
  plan(nic: Nic, before: SeenLinks, after: SeenLinks): readonly RouteRequest[];
  /** Undefined where all of the quarantine is in place. */
  judge(
    nic: Nic,
    before: SeenLinks,
    after: SeenLinks,
    results: readonly RouteResult[],
  ): NicProblem | undefined;
  /** Back to `before`, whichever part of the plan was carried out. */
  undo(nic: Nic, before: SeenLinks, after: SeenLinks): readonly RouteRequest[];
  /**
   * What of the device is Switchover's own. `created` is told also by a later call, from the device itself;
   * `attached` only by the first one, whose answer is to be kept until `release`.
   */
  ownership(nic: Nic, before: SeenLinks): DeviceOwnership;
}

/** A link behind which other hosts are, and the VLAN that the guest's frames are tagged with there. */
export interface AnnouncementPath {
  readonly ifindex: number;
  readonly vlan?: number;
}

export interface DeviceType<Nic extends NicDefinition> {
  readonly type: Nic["type"];
  /** The type's field of the proto's NicDefinition. */
  readonly field: string;
  /** What it honours; a definition that asks for anything else is refused by that name. */
  readonly extras: readonly NicExtra[];
  /** Throws INVALID_ARGUMENT for what can never be right; `field` is the path of the type's own part of the definition. */
  check(nic: Nic, field: string): void;
  /** What serves this NIC and no other; undefined where that is no network device of the host. */
  deviceName(nic: Nic): string | undefined;
  /** The file by which a VMM opens the device; for types that have one. */
  readonly characterDevice?: (ifindex: number) => string;
  /** The bridge or parent on which the guest's address must be this NIC's alone; undefined where there is none. */
  segment(nic: Nic): string | undefined;
  /** What of the type's own part of the definition names it, and whether the NIC must be the only one there. */
  readonly segmentUse?: (nic: Nic) => { readonly field: string; readonly by: "many" | "oneNic" };
  /** The prefixes that the host routes to this NIC and to no other; for types that have some. */
  readonly routes?: (nic: Nic) => readonly IpPrefix[];
  /** Whether the device stands on another, whose other ones decide whether it can be prepared. */
  readonly stands: "byItself" | "onAnother";
  /** The links to look up before anything is decided. */
  linkNames(nic: Nic): readonly string[];
  /**
   * Where frames with the guest's address leave to the other hosts, past the guest itself, the likeliest first. `links`
   * has the links that the definition names and the ports of bridges among them.
   */
  announceOn(nic: Nic, links: readonly Link[]): readonly AnnouncementPath[];
  /** The bridge's port, of the links that were found, whose VLANs are to be looked up too; undefined where it needs none. */
  vlanPort?(nic: Nic, links: SeenLinks): string | undefined;
  /**
   * What the host has once for an address, whichever instance of the guest it is for, with the part of the type's own part
   * of the definition that names it: two instances would take it from each other. Undefined where there is none.
   */
  hostwide?(nic: Nic): { readonly device: string; readonly field: string } | undefined;
  /** The multicast groups of which the kernel's notifications are the NIC's business. */
  multicastGroups?(nic: Nic): readonly MulticastGroup[];
  /** Whether the device is where the definition says, and its place there. */
  locate(nic: Nic, links: SeenLinks): Located;
  /**
   * The NIC as its device is now, which `locate` does not find where the definition says: with the names that it, and what
   * it is wired to (`under`), go by; missing where it is not known or gone. Undefined where nothing can be registered by
   * such a device, nor on another one that the definition names (`links`).
   */
  strayed(
    nic: Nic,
    device: Link | undefined,
    under: Link | undefined,
    links: SeenLinks,
  ): PlacedNic<Nic> | undefined;
  readonly prepare: DevicePreparation<Nic>;
  readonly start: DeviceOperation<Nic, StartOutcome>;
  readonly stop: DeviceOperation<Nic, StopOutcome>;
  /** A stop in two parts, for types whose `stop` has the kernel wait out grace periods (`grace-periods.ts`). */
  readonly deregister?: StopInParts<Nic>;
  readonly verify: DeviceOperation<Nic, VerifyOutcome>;
  /** Against what others do to a NIC that is registered or quarantined. */
  readonly mend: {
    /**
     * Whether what the kernel tells can mean that the NIC is not as `registered` says: `agrees` for what its own gate
     * made, and for what is none of its business. `place` is where it was last.
     */
    hear(
      nic: Nic,
      place: NicPlace | undefined,
      change: KernelChange,
      registered: Registered,
    ): "agrees" | "mayDiffer";
    /** Puts back what neither `start` nor `stop` touch; empty where the device is not there or is another's. */
    plan(
      nic: Nic,
      links: SeenLinks,
      ownership: DeviceOwnership,
      registered: Registered,
    ): readonly RouteRequest[];
  };
  /** Ends the quarantine: off the bridge where `prepare` put it there, and deleted if that is asked and it is ours. */
  readonly release: {
    /** Which links decide it that no definition names; undefined where none do, which is the rule. */
    readonly survey?: (
      nic: Nic,
      links: SeenLinks,
      ownership: DeviceOwnership,
      device: "delete" | "keep",
    ) => LinkFilter | undefined;
    /**
     * Empty where nothing is left to release. `around` says whether `links` has what `survey` asks for: until it has, what
     * depends on that is left as it is.
     */
    plan(
      nic: Nic,
      links: SeenLinks,
      ownership: DeviceOwnership,
      device: "delete" | "keep",
      around: "known" | "unknown",
    ): readonly RouteRequest[];
    /** `requests` are those of the plan for `links`. */
    judge(
      nic: Nic,
      links: SeenLinks,
      requests: readonly RouteRequest[],
      results: readonly RouteResult[],
    ): NicProblem | undefined;
  };
}
