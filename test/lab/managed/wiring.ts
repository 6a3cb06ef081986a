import {
  EntryMobility,
  MacTableManager,
  MacvtapMode,
  NicDefinition,
  TapOnBridge,
  UnmanagedKind,
} from "../../../proto/gen/switchover/v1/nic.ts";
import type { MacAddress } from "../../../proto/mac-address.ts";
import { furtherMac } from "../further-mac.ts";
import type { Topology } from "../topology.ts";
import type { WitnessedRoute } from "../witness/route-witness.ts";

/** One NIC of a lab's guest: what its control plane asks for, how its QEMU opens it, and who witnesses its registration. */
export interface LabNic {
  readonly mac: MacAddress;
  /** Empty where QEMU has it to itself. */
  readonly device: string;
  readonly definition: NicDefinition;
  readonly backend: "tap" | "macvtap" | "routedTap" | "user";
}

/** How a lab's guest is attached to its hosts; the first NIC is the guest's eth0, which the peers probe. */
export interface LabWiring {
  readonly nics: readonly LabNic[];
  /** Bridges of each host beyond br0; nothing else is on them. */
  readonly bridges: readonly string[];
  /** Links of each host for macvtaps to stand on, their far ends on the fabric. */
  readonly physdevs: readonly string[];
}

export const WIRING_NAMES = [
  "tap",
  "tap-8",
  "macvtap-bridge",
  "macvtap-bridge-8",
  "macvtap-passthrough",
  "mixed",
] as const;
export type WiringName = (typeof WIRING_NAMES)[number];

/** Those with `-8` have eight NICs of one kind; `mixed` has eight of every kind on two bridges and two physical devices. */
export function wiringOf(name: WiringName, mac: MacAddress, tap: string): LabWiring {
  const macOf = (index: number) => (index === 0 ? mac : furtherMac(mac, index));
  switch (name) {
    case "tap":
      return { nics: [tapNic(0, mac, tap, "br0")], bridges: [], physdevs: [] };
    case "tap-8":
      return {
        nics: eight((index) => tapNic(index, macOf(index), index === 0 ? tap : `${tap}${index}`, "br0")),
        bridges: [],
        physdevs: [],
      };
    case "macvtap-bridge-8":
      return {
        nics: eight((index) => macvtapNic(index, macOf(index), "phys0", MacvtapMode.BRIDGE)),
        bridges: [],
        physdevs: ["phys0"],
      };
    case "macvtap-bridge":
      return { nics: [macvtapNic(0, mac, "phys0", MacvtapMode.BRIDGE)], bridges: [], physdevs: ["phys0"] };
    case "macvtap-passthrough":
      return {
        nics: [macvtapNic(0, mac, "phys0", MacvtapMode.PASSTHROUGH)],
        bridges: [],
        physdevs: ["phys0"],
      };
    case "mixed":
      return {
        nics: [
          tapNic(0, mac, tap, "br0"),
          tapNic(1, macOf(1), `${tap}1`, "br0"),
          tapNic(2, macOf(2), `${tap}2`, "br1"),
          routedNic(3, macOf(3), `${tap}3`),
          macvtapNic(4, macOf(4), "phys0", MacvtapMode.BRIDGE),
          macvtapNic(5, macOf(5), "phys0", MacvtapMode.VEPA),
          macvtapNic(6, macOf(6), "phys1", MacvtapMode.PASSTHROUGH),
          userNic(7, macOf(7)),
        ],
        bridges: ["br1"],
        physdevs: ["phys0", "phys1"],
      };
  }
}

/** What leads to the guest over its routed taps, as `ip route` prints it. */
export function routesOf(wiring: LabWiring): readonly WitnessedRoute[] {
  return wiring.nics.flatMap(({ definition: { device }, mac }) =>
    device?.$case === "routedTap"
      ? device.value.routes.map((route) => ({ prefix: route.replace(/\/32$/, ""), mac }))
      : [],
  );
}

/** Makes what the wiring needs on every host; goes with the lab's namespaces. */
export async function layWires({ fabric, hosts }: Topology, wiring: LabWiring): Promise<void> {
  for (const { name, namespace } of hosts) {
    await namespace.ip([
      ...wiring.bridges.flatMap((bridge) => [
        `link add ${bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
        `link set ${bridge} addrgenmode none`,
        `link set ${bridge} up`,
      ]),
      ...wiring.physdevs.flatMap((physdev) => [
        `link add ${physdev} type veth peer name ${physdev}-${name} netns ${fabric.name}`,
        `link set ${physdev} addrgenmode none`,
        `link set ${physdev} up`,
      ]),
    ]);
    await fabric.ip(wiring.physdevs.map((physdev) => `link set ${physdev}-${name} master br0 up`));
  }
}

function eight(nicOf: (index: number) => LabNic): readonly LabNic[] {
  return Array.from({ length: 8 }, (_, index) => nicOf(index));
}

function tapNic(index: number, mac: MacAddress, device: string, bridge: string): LabNic {
  const value = TapOnBridge.fromPartial({
    deviceName: device,
    bridge,
    macTableManager: MacTableManager.SWITCHOVER,
    entryMobility: EntryMobility.STICKY,
  });
  return labNic(index, mac, device, "tap", { $case: "tapOnBridge", value });
}

function macvtapNic(index: number, mac: MacAddress, parent: string, mode: MacvtapMode): LabNic {
  const device = `mv${index}`;
  return labNic(index, mac, device, "macvtap", {
    $case: "macvtap",
    value: { deviceName: device, parent, mode },
  });
}

function routedNic(index: number, mac: MacAddress, device: string): LabNic {
  return labNic(index, mac, device, "routedTap", {
    $case: "routedTap",
    value: {
      deviceName: device,
      hostAddresses: ["169.254.0.1/32"],
      routes: [`192.0.2.${index}/32`],
    },
  });
}

function userNic(index: number, mac: MacAddress): LabNic {
  return labNic(index, mac, "", "user", { $case: "unmanaged", value: { kind: UnmanagedKind.USER } });
}

function labNic(
  index: number,
  mac: MacAddress,
  device: string,
  backend: LabNic["backend"],
  wired: NonNullable<NicDefinition["device"]>,
): LabNic {
  const definition = NicDefinition.fromPartial({ nicId: `net${index}`, macAddress: mac, device: wired });
  return { mac, device, backend, definition };
}
