/**
 * Macvtaps made and changed: RTM_NEWLINK with `IFLA_MACVLAN_MODE`.
 */
import type { AttributeEncoder } from "./attribute.ts";
import { linkBody, MACVLAN_MODES, type MacvlanMode, type MacvtapMode, RTM_NEWLINK } from "./link.ts";
import { IFLA, IFLA_MACVLAN_MODE, INFO } from "./link-attributes.ts";
import { encodeMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL } from "./message.ts";

/**
 * Creates a macvtap, down, under a parent that may be down itself. In passthrough it has the parent's address, and gives
 * the parent any that it is given. EEXIST where the name is taken, EINVAL under a parent that a passthrough device has,
 * EBUSY under a bridge's port.
 */
export function encodeCreateMacvtap(name: string, parentIfindex: number, mode: MacvtapMode): Uint8Array {
  const flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  return encodeMessage(RTM_NEWLINK, flags, linkBody(0, undefined), (attributes) => {
    attributes.u32(IFLA.LINK, parentIfindex);
    attributes.string(IFLA.IFNAME, name);
    addMode(attributes, mode);
  });
}

/**
 * Changes the mode of a macvtap, up or down, at once: the kernel waits for no grace period. EINVAL into passthrough and out
 * of it, EOPNOTSUPP where the device is no macvtap.
 */
export function encodeSetMacvtapMode(ifindex: number, mode: MacvlanMode): Uint8Array {
  return encodeMessage(RTM_NEWLINK, NLM_F_ACK, linkBody(ifindex, undefined), (attributes) =>
    addMode(attributes, mode),
  );
}

function addMode(attributes: AttributeEncoder, mode: MacvlanMode): void {
  attributes.nested(IFLA.LINKINFO, (info) => {
    info.bytes(INFO.KIND, Buffer.from("macvtap"));
    info.nested(INFO.DATA, (data) => {
      for (const [number, named] of MACVLAN_MODES) {
        if (named === mode) data.u32(IFLA_MACVLAN_MODE, number);
      }
    });
  });
}
