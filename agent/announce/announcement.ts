import type { GuestAddress } from "../../proto/guest-address.ts";
import type { AnnouncementPath } from "../device/device.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import { addressesOf } from "../device/nic-identity.ts";
import { encodeArpAnnouncement, encodeNeighbourAdvertisement, encodeReverseArp } from "./frame.ts";

/** A NIC and where it can be announced; empty where there is nothing that the host could announce it on. */
export interface AnnouncedNic {
  readonly nic: Pick<NicDefinition, "nicId" | "macAddress" | "additionalMacAddresses" | "guestAddresses">;
  readonly paths: readonly AnnouncementPath[];
}

export type AnnouncementKind = "reverseArp" | "arp" | "neighbourAdvertisements";

export interface Announcement {
  readonly nicId: string;
  readonly kind: AnnouncementKind;
  readonly ifindex: number;
  readonly frame: Uint8Array;
}

/**
 * One round, each frame made when it is asked for. The MAC addresses of all NICs come first, since they turn the switches.
 * Which of several VLANs an IP address is in nobody has told, and in the others it may be somebody else's: a NIC in more
 * than one is announced by its MAC address alone.
 */
export function* announcementsOf(nics: readonly AnnouncedNic[]): Generator<Announcement> {
  for (const { nic, paths } of nics) {
    const { nicId } = nic;
    for (const { macAddress } of addressesOf(nic)) {
      for (const { ifindex, vlan } of paths) {
        yield { nicId, kind: "reverseArp", ifindex, frame: encodeReverseArp(macAddress, vlan) };
      }
    }
  }
  for (const { nic, paths } of nics) {
    const { guestAddresses = [], macAddress, nicId } = nic;
    if (new Set(paths.map(({ vlan }) => vlan)).size > 1) continue;
    for (const address of guestAddresses) {
      const kind = kindOf(address);
      const encode = kind === "arp" ? encodeArpAnnouncement : encodeNeighbourAdvertisement;
      for (const { ifindex, vlan } of paths) {
        yield { nicId, kind, ifindex, frame: encode(macAddress, address, vlan) };
      }
    }
  }
}

function kindOf(address: GuestAddress): "arp" | "neighbourAdvertisements" {
  return address.includes(":") ? "neighbourAdvertisements" : "arp";
}
