import type { MulticastGroup } from "../../agent/netlink/multicast.ts";
import { parseIpAddress } from "../../proto/ip-address.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { macOf } from "./guest-nics.ts";
import type { KindOfNic } from "./kind-of-nic.ts";
import { macvtapKind } from "./macvtap-kinds.ts";
import { VTEP } from "./overlay.ts";
import { routedTapKind } from "./routed-tap-kind.ts";
import { tapKind } from "./tap-kinds.ts";

const additionalMacAddresses = [1, 2].map((index) => parseMacAddress(macOf(index), ""));
const multicastGroups = ["239.1.2.3", "ff05::1234"] as readonly string[] as MulticastGroup[];
const vxlan = { deviceName: "vx0", vtepAddress: parseIpAddress(VTEP, "") };

/** Taps with their options, as far as bridges that do not filter VLANs have them. */
export const TAP_KINDS: readonly KindOfNic[] = [
  tapKind("a tap on a bridge that Switchover manages", {}),
  tapKind("a tap with several addresses, multicast groups and a VXLAN device", {
    additionalMacAddresses,
    multicastGroups,
    vxlan,
  }),
  tapKind("a tap with several addresses on a bridge that the kernel manages", {
    macTableManager: "kernel",
    additionalMacAddresses,
  }),
  routedTapKind("a routed tap"),
];

/** Macvtaps in each of their modes. */
export const MACVTAP_KINDS: readonly KindOfNic[] = [
  macvtapKind("a macvtap in private mode", "private"),
  macvtapKind("a macvtap in VEPA mode", "vepa"),
  macvtapKind("a macvtap in bridge mode", "bridge"),
  macvtapKind("a macvtap in passthrough mode", "passthrough"),
];
