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

/** Removes the tap; its bridge forgets every entry that pointed there. */
export async function deleteTap(namespace: NetworkNamespace, tap: string): Promise<void> {
  await namespace.ip([`link delete ${tap}`]);
}
