import type { NicIdentity } from "../nic-identity.ts";

/** A NIC that needs nothing from this host's kernel when its guest's CPUs start or stop. */
export interface UnmanagedNic extends NicIdentity {
  readonly type: "unmanaged";
  /** As libvirt names the types that it too does nothing for. */
  readonly kind: "user" | "vhostUser" | "hostdev" | "vdpa";
}
