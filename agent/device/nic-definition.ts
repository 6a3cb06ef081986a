import type { MacvtapNic } from "./macvtap/definition.ts";
import type { RoutedTapNic } from "./routed-tap/definition.ts";
import type { TapOnBridgeNic } from "./tap-on-bridge/definition.ts";
import type { UnmanagedNic } from "./unmanaged/definition.ts";

/** One NIC of a guest, told apart by `type`; each type has its folder here. */
export type NicDefinition = TapOnBridgeNic | MacvtapNic | RoutedTapNic | UnmanagedNic;
