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
  /** More addresses of the guest's on this NIC; absent where there are none. */
  readonly additionalMacAddresses?: readonly MacAddress[];
}

/** All addresses of a NIC, its own first, each with its field of the proto's NicDefinition. */
export function addressesOf({
  macAddress,
  additionalMacAddresses = [],
}: NicIdentity): readonly { readonly macAddress: MacAddress; readonly field: string }[] {
  return [
    { macAddress, field: "mac_address" },
    ...additionalMacAddresses.map((additional, index) => ({
      macAddress: additional,
      field: `additional_mac_addresses[${index}]`,
    })),
  ];
}
