import type { NetworkNamespace } from "./network-namespace.ts";

/**
 * Makes a persistent tap the way an unmanaged host does: on the bridge, learning, flooding, up. Nothing is
 * quarantined and nothing registered; the bridge finds the guest by its frames.
 */
export async function createPlainTap(
  namespace: NetworkNamespace,
  tap: string,
  bridge: string,
): Promise<void> {
  await namespace.ip([
    `tuntap add dev ${tap} mode tap`,
    `link set ${tap} addrgenmode none`,
    `link set ${tap} master ${bridge}`,
    `link set ${tap} up`,
  ]);
}

/** Makes a macvtap in bridge mode the way QEMU alone would have it: up as soon as it is there. */
export async function createPlainMacvtap(
  namespace: NetworkNamespace,
  name: string,
  { mac, parent }: { readonly mac: string; readonly parent: string },
): Promise<void> {
  await namespace.ip([
    `link add link ${parent} name ${name} address ${mac} type macvtap mode bridge`,
    `link set ${name} addrgenmode none`,
    `link set ${name} up`,
  ]);
}

/** Removes the device; a bridge forgets every entry that pointed there. */
export async function deleteLink(namespace: NetworkNamespace, name: string): Promise<void> {
  await namespace.ip([`link delete ${name}`]);
}
