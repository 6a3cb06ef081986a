import type { MacAddress } from "../../proto/mac-address.ts";
import {
  type BridgePortFlags,
  encodeCreateLink,
  encodeCreateMacvtap,
  encodeDeleteLink,
  encodeDumpLinks,
  encodeGetLink,
  encodeSetAltName,
  encodeSetBridgePort,
  encodeSetLink,
  type LinkChange,
  type MacvtapMode,
} from "./link.ts";
import {
  encodeDeleteFdbEntry,
  encodeDumpFdb,
  encodeGetFdbEntry,
  encodeReplaceFdbEntry,
  type Stickiness,
} from "./neighbour.ts";

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
      /** Deregister: RTM_DELNEIGH. ENOENT where the entry is not on this port. */
      readonly op: "deleteFdbEntry";
      readonly ifindex: number;
      readonly macAddress: MacAddress;
      readonly vlan?: number;
    }
  | {
      /** Answered with one `fdbEntry`; ENOENT where no port of the bridge has the address. */
      readonly op: "getFdbEntry";
      readonly bridgeIfindex: number;
      readonly macAddress: MacAddress;
      readonly vlan?: number;
    }
  | { readonly op: "setLink"; readonly ifindex: number; readonly change: LinkChange }
  | { readonly op: "setBridgePort"; readonly ifindex: number; readonly flags: BridgePortFlags }
  | { readonly op: "createLink"; readonly name: string; readonly kind: string }
  | {
      readonly op: "createMacvtap";
      readonly name: string;
      readonly parentIfindex: number;
      readonly mode: MacvtapMode;
    }
  | {
      readonly op: "setAltName";
      readonly ifindex: number;
      readonly altName: string;
      readonly presence: "present" | "absent";
    }
  | { readonly op: "deleteLink"; readonly ifindex: number }
  /** Answered with one `link`; ENODEV where there is none. */
  | { readonly op: "getLink"; readonly name: string };

/** One table to read in full. */
export type RouteDump =
  | { readonly op: "dumpLinks" }
  | { readonly op: "dumpFdb"; readonly bridgeIfindex: number };

/** Whether the kernel answers with an ack alone, or with what was asked for. */
export function answerOf(request: RouteRequest): "ack" | "reply" {
  return request.op === "getLink" || request.op === "getFdbEntry" ? "reply" : "ack";
}

/** The message of a request, its sequence number still zero. */
export function encodeRequest(request: RouteRequest): Uint8Array {
  switch (request.op) {
    case "replaceFdbEntry":
      return encodeReplaceFdbEntry(request, request.sticky);
    case "deleteFdbEntry":
      return encodeDeleteFdbEntry(request);
    case "getFdbEntry":
      return encodeGetFdbEntry(request.bridgeIfindex, request.macAddress, request.vlan);
    case "setLink":
      return encodeSetLink(request.ifindex, request.change);
    case "setBridgePort":
      return encodeSetBridgePort(request.ifindex, request.flags);
    case "createLink":
      return encodeCreateLink(request.name, request.kind);
    case "createMacvtap":
      return encodeCreateMacvtap(request.name, request.parentIfindex, request.mode);
    case "setAltName":
      return encodeSetAltName(request.ifindex, request.altName, request.presence);
    case "deleteLink":
      return encodeDeleteLink(request.ifindex);
    case "getLink":
      return encodeGetLink(request);
  }
}

/** The message of a dump, its sequence number still zero. */
export function encodeDump(dump: RouteDump): Uint8Array {
  return dump.op === "dumpLinks" ? encodeDumpLinks() : encodeDumpFdb(dump.bridgeIfindex);
}
