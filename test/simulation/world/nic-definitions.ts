import {
  EntryMobility,
  MacTableManager,
  MacvtapMode,
  NicDefinition,
  UnmanagedKind,
} from "../../../proto/gen/switchover/v1/nic.ts";
import { BRIDGE, OVERLAY_BRIDGE, OWN_PARENT, SHARED_PARENT, VXLAN } from "../model/host.ts";
import type { Breakage } from "./breakage.ts";
import type { SimulatedNic } from "./world.ts";

/** An instance's NICs as the cloud asks agents for them, on the one bridge and the two parents that every host has. */
export function definitionsOf(nics: readonly SimulatedNic[], entries: Breakage["entries"]): NicDefinition[] {
  return nics.map((nic) => definitionOf(nic, entries));
}

export function definitionOf(nic: SimulatedNic, entries: Breakage["entries"]): NicDefinition {
  const { kind, macAddress, nicId } = nic;
  const additionalMacAddresses = kind === "overlayTap" ? overlayOf(nic).macAddresses.slice(1) : [];
  return NicDefinition.fromPartial({
    nicId,
    macAddress,
    additionalMacAddresses,
    device: deviceOf(nic, entries),
  });
}

/** What an `overlayTap` is registered with; a VXLAN entry goes with one VLAN alone. */
export function overlayOf({ macAddress }: SimulatedNic) {
  const number = Number.parseInt(macAddress.slice(-2), 16);
  const hasVxlan = number % 2 === 1;
  return {
    macAddresses: [macAddress, macAddress.replace(/^52:54:00:00:00/, "52:54:00:00:01")],
    vlans: hasVxlan ? [7] : [7, 8],
    group: "239.1.2.3",
    vxlan: hasVxlan ? { deviceName: VXLAN, vtepAddress: "10.0.0.1" } : undefined,
  };
}

/** What the host answers to on a routed tap, and what leads to the guest. */
export function routingOf({ macAddress }: SimulatedNic): { hostAddresses: string[]; routes: string[] } {
  const number = Number.parseInt(macAddress.slice(-2), 16);
  // Every other one has routes alone: only by being down does it then tell that its guest does not run.
  const hostAddresses = number % 2 === 1 ? ["169.254.0.1/32", "fe80::1/64"] : [];
  return { hostAddresses, routes: [`192.0.2.${number}/32`, `2001:db8::${number}/128`] };
}

function deviceOf(nic: SimulatedNic, entries: Breakage["entries"]): NonNullable<NicDefinition["device"]> {
  const { deviceName } = nic;
  switch (nic.kind) {
    case "tap":
    case "kernelTap":
      return {
        $case: "tapOnBridge",
        value: {
          deviceName,
          bridge: BRIDGE,
          macTableManager: nic.kind === "tap" ? MacTableManager.SWITCHOVER : MacTableManager.KERNEL,
          entryMobility: entries === "sticky" ? EntryMobility.STICKY : EntryMobility.ROAMING,
          vlans: [],
          multicastGroups: [],
          vxlan: undefined,
        },
      };
    case "overlayTap": {
      const { vlans, group, vxlan } = overlayOf(nic);
      return {
        $case: "tapOnBridge",
        value: {
          deviceName,
          bridge: OVERLAY_BRIDGE,
          macTableManager: MacTableManager.SWITCHOVER,
          entryMobility: entries === "sticky" ? EntryMobility.STICKY : EntryMobility.ROAMING,
          vlans,
          multicastGroups: [group],
          vxlan,
        },
      };
    }
    case "macvtap":
      return {
        $case: "macvtap",
        value: { deviceName, parent: SHARED_PARENT, mode: MacvtapMode.BRIDGE },
      };
    case "passthrough":
      return {
        $case: "macvtap",
        value: { deviceName, parent: OWN_PARENT, mode: MacvtapMode.PASSTHROUGH },
      };
    case "routedTap":
      return { $case: "routedTap", value: { deviceName, ...routingOf(nic) } };
    case "unmanaged":
      return { $case: "unmanaged", value: { kind: UnmanagedKind.VHOST_USER } };
  }
}
