import type { IpPrefix } from "../../proto/ip-prefix.ts";
import type { MacAddress } from "../../proto/mac-address.ts";
import { encodeDeleteAddress, encodeDumpAddresses, encodeReplaceAddress } from "./address.ts";
import {
  type BridgePortFlags,
  encodeCreateLink,
  encodeDeleteLink,
  encodeDumpLinks,
  encodeGetLink,
  encodeSetAltName,
  encodeSetBridgePort,
  encodeSetLink,
  type LinkChange,
  type LinkKey,
  type MacvlanMode,
  type MacvtapMode,
} from "./link.ts";
import { encodeCreateMacvtap, encodeSetMacvtapMode } from "./macvtap.ts";
import {
  encodeDeleteGroupEntry,
  encodeGetGroupEntry,
  encodeReplaceGroupEntry,
  type MulticastKey,
} from "./multicast.ts";
import {
  encodeDeleteFdbEntry,
  encodeDumpFdb,
  encodeFlushStaticEntries,
  encodeGetFdbEntry,
  encodeReplaceFdbEntry,
  type Stickiness,
} from "./neighbour.ts";
import { encodeAddPortVlans, encodeDumpPortVlans, encodeKeepPortVlans } from "./port-vlan.ts";
import { encodeDeleteRoute, encodeDumpRoutes, encodeGetRoute, encodeReplaceRoute } from "./route.ts";
import {
  encodeDeleteVxlanEntry,
  encodeGetVxlanEntry,
  encodeReplaceVxlanEntry,
  type VxlanKey,
} from "./vxlan.ts";

/** One thing to ask of the kernel's routing socket, as plain data. Each is one netlink message. */
export type RouteRequest =
  | {
      /** Register: RTM_NEWNEIGH `static`, CREATE|REPLACE. */
      readonly op: "replaceFdbEntry";
      readonly ifindex: number;
      readonly macAddress: MacAddress;
      readonly vlan?: number;
      readonly sticky: Stickiness;
    }
  | {
      /** Deregister: RTM_DELNEIGH. ENOENT where the entry is not on this port, EINVAL where that is not in the VLAN. */
      readonly op: "deleteFdbEntry";
      readonly ifindex: number;
      readonly macAddress: MacAddress;
      readonly vlan?: number;
    }
  | {
      /** Deregister whatever is static in a VLAN, which the port may have left. EINVAL before kernel 5.19. */
      readonly op: "flushStaticEntries";
      readonly ifindex: number;
      readonly vlan: number;
    }
  | {
      /** Answered with one `fdbEntry`; ENOENT where no port of the bridge has the address. */
      readonly op: "getFdbEntry";
      readonly bridgeIfindex: number;
      readonly macAddress: MacAddress;
      readonly vlan?: number;
    }
  /** The address is behind this VTEP. EAFNOSUPPORT where the device's VTEPs have addresses of the other family. */
  | ({ readonly op: "replaceVxlanEntry" } & VxlanKey)
  /** Acknowledged also where the address is behind another VTEP, and stays so; ENOENT where it is behind none. */
  | ({ readonly op: "deleteVxlanEntry" } & VxlanKey)
  /** Answered with one `fdbEntry`; ENOENT where the device has none. */
  | ({ readonly op: "getVxlanEntry" } & Omit<VxlanKey, "vtepAddress">)
  /** The port joins the group. EINVAL where the bridge does not snoop. */
  | ({ readonly op: "replaceGroupEntry"; readonly ifindex: number } & MulticastKey)
  | ({ readonly op: "deleteGroupEntry"; readonly ifindex: number } & MulticastKey)
  /** Answered with `multicastEntries`; ENOENT where the group has no member, EOPNOTSUPP before kernel 6.8. */
  | ({ readonly op: "getGroupEntry" } & MulticastKey)
  | { readonly op: "addPortVlans"; readonly ifindex: number; readonly vlans: readonly number[] }
  /** Leaves the port in these VLANs at most. */
  | { readonly op: "keepPortVlans"; readonly ifindex: number; readonly vlans: readonly number[] }
  | { readonly op: "setLink"; readonly ifindex: number; readonly change: LinkChange }
  | { readonly op: "setBridgePort"; readonly ifindex: number; readonly flags: BridgePortFlags }
  | { readonly op: "createLink"; readonly name: string; readonly kind: string }
  | {
      readonly op: "createMacvtap";
      readonly name: string;
      readonly parentIfindex: number;
      readonly mode: MacvtapMode;
    }
  /** Waits for no grace period. EINVAL into passthrough and out of it. */
  | { readonly op: "setMacvtapMode"; readonly ifindex: number; readonly mode: MacvlanMode }
  | {
      readonly op: "setAltName";
      readonly ifindex: number;
      readonly altName: string;
      readonly presence: "present" | "absent";
    }
  | { readonly op: "deleteLink"; readonly ifindex: number }
  /** Answered with one `link`; ENODEV where there is none. */
  | ({ readonly op: "getLink" } & LinkKey)
  /** RTM_NEWADDR, CREATE|REPLACE; an IPv6 address is usable at once. */
  | { readonly op: "replaceAddress"; readonly ifindex: number; readonly address: IpPrefix }
  /** EADDRNOTAVAIL where the device does not have it. */
  | { readonly op: "deleteAddress"; readonly ifindex: number; readonly address: IpPrefix }
  /** Answered with one `address` for each that the device has, of both families; ENODEV where there is none. */
  | { readonly op: "getAddresses"; readonly ifindex: number }
  /** Into the main table, CREATE|REPLACE; ENETDOWN while the device is down. */
  | { readonly op: "replaceRoute"; readonly ifindex: number; readonly prefix: IpPrefix }
  /** ESRCH where the prefix does not lead to this device. */
  | { readonly op: "deleteRoute"; readonly ifindex: number; readonly prefix: IpPrefix }
  /** Answered with the one `route` that decides about an address of the prefix; ENETUNREACH where there is none. */
  | { readonly op: "getRoute"; readonly prefix: IpPrefix }
  /** Answered with one `route` for each by the device, of all tables; takes as long as the host has routes. */
  | { readonly op: "getRoutes"; readonly ifindex: number; readonly family: "ipv4" | "ipv6" };

/** One table to read in full. */
export type RouteDump =
  /** All links, or the ports of one, or those of one kind, which the kernel heeds for kinds that it has loaded. */
  | { readonly op: "dumpLinks"; readonly masterIfindex?: number; readonly kind?: string }
  | { readonly op: "dumpFdb"; readonly bridgeIfindex: number }
  /** Answered with `portVlans` of this port. */
  | { readonly op: "dumpPortVlans"; readonly ifindex: number };

const REPLIED: readonly RouteRequest["op"][] = [
  "getLink",
  "getFdbEntry",
  "getVxlanEntry",
  "getGroupEntry",
  "getRoute",
];

/** Whether the kernel answers with an ack alone, with the one thing asked for, or with all that there is and an end. */
export function answerOf({ op }: RouteRequest): "ack" | "reply" | "dump" {
  if (op === "getAddresses" || op === "getRoutes") return "dump";
  return REPLIED.includes(op) ? "reply" : "ack";
}

/** The message of a request, its sequence number still zero. */
export function encodeRequest(request: RouteRequest): Uint8Array {
  switch (request.op) {
    case "replaceFdbEntry":
      return encodeReplaceFdbEntry(request, request.sticky);
    case "deleteFdbEntry":
      return encodeDeleteFdbEntry(request);
    case "flushStaticEntries":
      return encodeFlushStaticEntries(request.ifindex, request.vlan);
    case "getFdbEntry":
      return encodeGetFdbEntry(request.bridgeIfindex, request.macAddress, request.vlan);
    case "replaceVxlanEntry":
      return encodeReplaceVxlanEntry(request);
    case "deleteVxlanEntry":
      return encodeDeleteVxlanEntry(request);
    case "getVxlanEntry":
      return encodeGetVxlanEntry(request);
    case "replaceGroupEntry":
      return encodeReplaceGroupEntry(request, request.ifindex);
    case "deleteGroupEntry":
      return encodeDeleteGroupEntry(request, request.ifindex);
    case "getGroupEntry":
      return encodeGetGroupEntry(request);
    case "addPortVlans":
      return encodeAddPortVlans(request.ifindex, request.vlans);
    case "keepPortVlans":
      return encodeKeepPortVlans(request.ifindex, request.vlans);
    case "setLink":
      return encodeSetLink(request.ifindex, request.change);
    case "setBridgePort":
      return encodeSetBridgePort(request.ifindex, request.flags);
    case "createLink":
      return encodeCreateLink(request.name, request.kind);
    case "createMacvtap":
      return encodeCreateMacvtap(request.name, request.parentIfindex, request.mode);
    case "setMacvtapMode":
      return encodeSetMacvtapMode(request.ifindex, request.mode);
    case "setAltName":
      return encodeSetAltName(request.ifindex, request.altName, request.presence);
    case "deleteLink":
      return encodeDeleteLink(request.ifindex);
    case "getLink":
      return encodeGetLink(request);
    case "replaceAddress":
      return encodeReplaceAddress(request);
    case "deleteAddress":
      return encodeDeleteAddress(request);
    case "getAddresses":
      return encodeDumpAddresses(request.ifindex);
    case "replaceRoute":
      return encodeReplaceRoute(request);
    case "deleteRoute":
      return encodeDeleteRoute(request);
    case "getRoute":
      return encodeGetRoute(request.prefix);
    case "getRoutes":
      return encodeDumpRoutes(request.ifindex, request.family);
  }
}

/** The message of a dump, its sequence number still zero. */
export function encodeDump(dump: RouteDump): Uint8Array {
  switch (dump.op) {
    case "dumpLinks":
      return encodeDumpLinks(dump);
    case "dumpFdb":
      return encodeDumpFdb(dump.bridgeIfindex);
    case "dumpPortVlans":
      return encodeDumpPortVlans(dump.ifindex);
  }
}
