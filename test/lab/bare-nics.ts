import type { MacAddress } from "../../proto/mac-address.ts";
import { furtherMac } from "./further-mac.ts";
import type { GuestNic } from "./guest.ts";
import { makeMacvtapFile } from "./macvtap-file.ts";
import { createPlainMacvtap, createPlainTap, deleteLink } from "./plain-devices.ts";
import type { LabHost } from "./topology.ts";

/** What a guest that nobody manages is attached by. Macvtaps stand on a link `phys0` that each host must have. */
export type BareDevice = "tap" | "macvtap";

export interface BareNics {
  readonly device: BareDevice;
  readonly count: number;
  /** Of the first NIC; the others have addresses made of it, and are down in the guest. */
  readonly mac: MacAddress;
}

export const BARE_PARENT = "phys0";

/** Makes the guest's devices on a host, up; files of macvtaps go to `directory`. */
export async function createBareNics(
  { namespace, bridge }: LabHost,
  { count, device, mac: first }: BareNics,
  directory: string,
): Promise<readonly GuestNic[]> {
  const nics: GuestNic[] = [];
  for (let index = 0; index < count; index += 1) {
    const mac = index === 0 ? first : furtherMac(first, index);
    const name = `${device}${index}`;
    if (device === "tap") {
      await createPlainTap(namespace, name, bridge);
      nics.push({ tap: name, mac });
    } else {
      await createPlainMacvtap(namespace, name, { mac, parent: BARE_PARENT });
      nics.push({ tap: name, mac, characterDevice: await makeMacvtapFile(namespace, name, directory) });
    }
  }
  return nics;
}

export async function deleteBareNics({ namespace }: LabHost, nics: readonly GuestNic[]): Promise<void> {
  for (const { tap } of nics) await deleteLink(namespace, tap);
}
