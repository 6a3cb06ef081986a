import type { GuestAddress } from "../../proto/guest-address.ts";
import type { MacAddress } from "../../proto/mac-address.ts";

/** What every NIC of a guest has, whatever its device. */
export interface NicIdentity {
  /** Unique within the guest. */
  readonly nicId: string;
  /** The guest's own address; never a bridge port's. */
  readonly macAddress: MacAddress;
  /** What else is announced when the CPUs have started; absent where none is known. */
  readonly guestAddresses?: readonly GuestAddress[];
}
