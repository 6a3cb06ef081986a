import { addressesOf } from "../../agent/device/nic-identity.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { textOf } from "./kind-of-nic.ts";
import { VTEP } from "./overlay.ts";

export const QUARANTINE = "learning=off flood=off mcast=off bcast=off";
export const DEFAULTS = "learning=on flood=on mcast=on bcast=on";
const REGISTERED = "learning=off flood=off mcast=on bcast=on";

export interface TapTexts {
  /** All addresses of the NIC. */
  readonly macs: readonly string[];
  /** The flags of the port while the guest runs. */
  readonly running: string;
  /** The lines of the bridge's and the VXLAN device's tables while the guest runs. */
  readonly entries: readonly string[];
  readonly memberships: readonly string[];
  /** Of a tap on br0 whose guest stands, where `entries` are in the tables. */
  readonly quarantined: (...entries: readonly string[]) => string;
  /** Of a tap on br0 whose guest runs, with what differs from what it should be. */
  readonly registered: (change?: {
    readonly port?: string;
    readonly entries?: readonly string[];
    readonly memberships?: readonly string[];
  }) => string;
}

/** What `ip` and `bridge` show of the NIC, as `host-state.ts` reads it. */
export function tapTexts(nic: TapOnBridgeNic): TapTexts {
  const macs = addressesOf(nic).map(({ macAddress }) => macAddress);
  const entries =
    nic.macTableManager === "kernel"
      ? []
      : macs.flatMap((mac) => [
          `${mac} dev tap0 sticky master br0 static`,
          ...(nic.vxlan === undefined ? [] : [`${mac} dev vx0 dst ${VTEP} self static`]),
        ]);
  const memberships = (nic.multicastGroups ?? []).map((group) => `dev br0 port tap0 grp ${group} permanent`);
  const running = nic.macTableManager === "kernel" ? DEFAULTS : REGISTERED;
  return {
    macs,
    running,
    entries,
    memberships,
    quarantined: (...held) => textOf(`tap0 br0 up none ${QUARANTINE}`, ...held.toSorted()),
    registered: (change = {}) =>
      textOf(
        change.port ?? `tap0 br0 up none ${running}`,
        ...(change.entries ?? entries).toSorted(),
        ...(change.memberships ?? memberships).toSorted(),
      ),
  };
}
