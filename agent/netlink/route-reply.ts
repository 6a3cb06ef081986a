import { decodeAddress, RTM_NEWADDR } from "./address.ts";
import { RTM_NEWLINK } from "./link.ts";
import { decodeLink } from "./link-decoder.ts";
import type { NetlinkMessage } from "./message.ts";
import { decodeMulticastEntries, RTM_NEWMDB } from "./multicast.ts";
import { decodeFdbEntry, RTM_NEWNEIGH } from "./neighbour.ts";
import { decodePortVlans, RTM_NEWVLAN } from "./port-vlan.ts";
import { decodeRoute, RTM_NEWROUTE } from "./route.ts";
import type { RouteMessage } from "./route-port.ts";

/** What one message of the kernel's answer tells; empty for what this agent has no use for. */
export function decodeReply(message: NetlinkMessage): RouteMessage[] {
  const { type, payload } = message;
  switch (type) {
    case RTM_NEWLINK:
      return [{ type: "link", link: decodeLink(payload) }];
    case RTM_NEWNEIGH:
      return [{ type: "fdbEntry", entry: decodeFdbEntry(payload) }];
    case RTM_NEWMDB:
      return [{ type: "multicastEntries", entries: decodeMulticastEntries(payload) }];
    case RTM_NEWVLAN:
      return [{ type: "portVlans", ...decodePortVlans(payload) }];
    case RTM_NEWADDR: {
      const address = decodeAddress(payload);
      return address === undefined ? [] : [{ type: "address", address }];
    }
    case RTM_NEWROUTE: {
      const route = decodeRoute(payload);
      return route === undefined ? [] : [{ type: "route", route }];
    }
    default:
      return [];
  }
}
