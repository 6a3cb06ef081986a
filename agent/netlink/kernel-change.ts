import { type DeviceAddress, decodeAddress, RTM_DELADDR, RTM_NEWADDR } from "./address.ts";
import type { Link } from "./link.ts";
import { RTM_DELLINK, RTM_NEWLINK } from "./link.ts";
import { decodeLink } from "./link-decoder.ts";
import { decodeMessages, type NetlinkMessage } from "./message.ts";
import { decodeMulticastEntries, type MulticastEntry, RTM_DELMDB, RTM_NEWMDB } from "./multicast.ts";
import { decodeFdbEntry, type FdbEntry, PF_BRIDGE, RTM_DELNEIGH, RTM_NEWNEIGH } from "./neighbour.ts";

/**
 * What the kernel tells of its own accord about links, forwarding tables, multicast groups and addresses. Not about
 * routes: a host that holds a full table hears thousands a second while its neighbours come and go.
 */
export type KernelChange =
  /** Made or changed, by whomever; where the bridge tells it of its port, `kind` and `alias` are missing. */
  | { readonly kind: "linkChanged"; readonly link: Link }
  | { readonly kind: "linkRemoved"; readonly ifindex: number; readonly name: string }
  /** The device is no port of its bridge any more. */
  | { readonly kind: "portRemoved"; readonly ifindex: number; readonly name: string }
  | { readonly kind: "fdbEntryChanged"; readonly entry: FdbEntry }
  /** `entry` as it was. */
  | { readonly kind: "fdbEntryRemoved"; readonly entry: FdbEntry }
  | { readonly kind: "addressChanged"; readonly address: DeviceAddress }
  | { readonly kind: "addressRemoved"; readonly address: DeviceAddress }
  | { readonly kind: "groupEntryChanged"; readonly entry: MulticastEntry }
  /** `entry` as it was. */
  | { readonly kind: "groupEntryRemoved"; readonly entry: MulticastEntry }
  /** Changes were lost (ENOBUFS) or could not be read: anything may have changed. */
  | { readonly kind: "overrun" };

/**
 * Tells what the kernel changed. A change is told after it happened, by a caller of its own, never within a call into
 * the kernel; when it is heard, more may have changed.
 */
export interface KernelChanges {
  /** Calls `listener` with what was told, in order; the returned function ends that. */
  watch(listener: (changes: readonly KernelChange[]) => void): () => void;
}

/** The changes that one datagram tells of the groups that `openChangeSocket` hears; what cannot be read is an overrun. */
export function decodeChanges(datagram: Uint8Array): readonly KernelChange[] {
  try {
    return decodeMessages(datagram).flatMap(decodeChange);
  } catch {
    return [{ kind: "overrun" }];
  }
}

function decodeChange({ type, payload }: NetlinkMessage): KernelChange[] {
  switch (type) {
    case RTM_NEWLINK:
      return [{ kind: "linkChanged", link: decodeLink(payload) }];
    case RTM_DELLINK: {
      const { ifindex, name } = decodeLink(payload);
      return [{ kind: payload[0] === PF_BRIDGE ? "portRemoved" : "linkRemoved", ifindex, name }];
    }
    case RTM_NEWNEIGH:
      return fdbEntryOf(payload).map((entry) => ({ kind: "fdbEntryChanged", entry }));
    case RTM_DELNEIGH:
      return fdbEntryOf(payload).map((entry) => ({ kind: "fdbEntryRemoved", entry }));
    case RTM_NEWADDR:
      return addressOf(payload).map((address) => ({ kind: "addressChanged", address }));
    case RTM_DELADDR:
      return addressOf(payload).map((address) => ({ kind: "addressRemoved", address }));
    case RTM_NEWMDB:
      return decodeMulticastEntries(payload).map((entry) => ({ kind: "groupEntryChanged", entry }));
    case RTM_DELMDB:
      return decodeMulticastEntries(payload).map((entry) => ({ kind: "groupEntryRemoved", entry }));
    default:
      return [];
  }
}

function addressOf(payload: Uint8Array): DeviceAddress[] {
  const address = decodeAddress(payload);
  return address === undefined ? [] : [address];
}

/** The group also tells the host's own IP neighbours. */
function fdbEntryOf(payload: Uint8Array): FdbEntry[] {
  return payload[0] === PF_BRIDGE ? [decodeFdbEntry(payload)] : [];
}
