import type { Link } from "../../agent/netlink/link.ts";
import type { MulticastEntry } from "../../agent/netlink/multicast.ts";
import type { FdbEntry } from "../../agent/netlink/neighbour.ts";
import type { RouteResult } from "../../agent/netlink/route-port.ts";
import type { RouteRequest } from "../../agent/netlink/route-request.ts";
import { done, refusal } from "./device-pretended-answer.ts";

const ENOENT = 2;
const ENODEV = 19;
const EINVAL = 22;
const EOPNOTSUPP = 95;
const EAFNOSUPPORT = 97;

type GroupRequest = Extract<RouteRequest, { op: "replaceGroupEntry" | "deleteGroupEntry" | "getGroupEntry" }>;
type VxlanRequest = Extract<RouteRequest, { op: "replaceVxlanEntry" | "deleteVxlanEntry" | "getVxlanEntry" }>;

/** A bridge's multicast groups and a VXLAN device's entries, with the kernel's answers as measured on Linux 6.18. */
export class PretendedTables {
  readonly #groups = new Map<string, MulticastEntry>();
  readonly #vxlan = new Map<string, FdbEntry>();
  /** Before 6.8 a single group cannot be asked for, and what is no member is refused otherwise. */
  groupLookup: "known" | "unknown" = "known";

  carryOutOnGroup(links: ReadonlyMap<number, Link>, request: GroupRequest): RouteResult {
    const bridge = links.get(request.bridgeIfindex);
    if (bridge === undefined) return refusal(ENODEV, "Device doesn't exist");
    if (bridge.kind !== "bridge") return refusal(EOPNOTSUPP, "Device does not support MDB operations");
    const inGroup = `${request.bridgeIfindex} ${request.group} ${request.vlan ?? 0}`;
    if (request.op === "getGroupEntry") {
      if (this.groupLookup === "unknown") return refusal(EOPNOTSUPP);
      const entries = [...this.#groups].flatMap(([key, entry]) =>
        key.startsWith(`${inGroup} `) ? [entry] : [],
      );
      if (entries.length === 0) return refusal(ENOENT, "bridge: MDB entry not found");
      return { ok: true, messages: [{ type: "multicastEntries", entries }] };
    }
    const { op, ...entry } = request;
    const port = links.get(entry.ifindex);
    if (port === undefined) return refusal(ENODEV, "bridge: Port net device doesn't exist");
    if (bridge.multicastSnooping !== "on") {
      return refusal(EINVAL, "bridge: Bridge's multicast processing is disabled");
    }
    if (port.masterIfindex !== bridge.ifindex) {
      return refusal(EINVAL, "bridge: Net device is not a bridge port");
    }
    const key = `${inGroup} ${entry.ifindex}`;
    if (op === "replaceGroupEntry") this.#groups.set(key, { ...entry, state: "permanent" });
    else if (!this.#groups.delete(key)) return refusal(EINVAL);
    return done;
  }

  carryOutOnVxlan(links: ReadonlyMap<number, Link>, request: VxlanRequest): RouteResult {
    const { ifindex, macAddress, vni } = request;
    const device = links.get(ifindex);
    if (device === undefined) return refusal(ENODEV, "unknown ifindex");
    if (device.vxlan === undefined) return refusal(EOPNOTSUPP);
    const key = `${ifindex} ${macAddress} ${vni ?? device.vxlan.vni}`;
    const entry = this.#vxlan.get(key);
    switch (request.op) {
      case "replaceVxlanEntry": {
        const { vtepAddress } = request;
        const isIPv6 = device.vxlan.localAddress?.includes(":") ?? false;
        if (vtepAddress.includes(":") !== isIPv6) return refusal(EAFNOSUPPORT);
        this.#vxlan.set(key, { ifindex, macAddress, state: "static", sticky: "plain", vtepAddress });
        return done;
      }
      case "deleteVxlanEntry":
        if (entry === undefined) return refusal(ENOENT);
        if (entry.vtepAddress === request.vtepAddress) this.#vxlan.delete(key);
        return done;
      case "getVxlanEntry":
        return entry === undefined
          ? refusal(ENOENT, "Fdb entry not found")
          : { ok: true, messages: [{ type: "fdbEntry", entry }] };
    }
  }

  isMember(bridgeIfindex: number, group: string, vlan: number | undefined, ifindex: number): boolean {
    return this.#groups.has(`${bridgeIfindex} ${group} ${vlan ?? 0} ${ifindex}`);
  }

  isBehindVtep(ifindex: number, macAddress: string, vni: number | undefined): boolean {
    return this.#vxlan.has(`${ifindex} ${macAddress} ${vni}`);
  }

  /** What goes with a device, with a port that leaves its bridge, and with a bridge. */
  forget(ifindex: number, device: "device" | "port"): void {
    for (const [key, entry] of this.#groups) {
      if (entry.ifindex === ifindex || entry.bridgeIfindex === ifindex) this.#groups.delete(key);
    }
    if (device === "port") return;
    for (const [key, entry] of this.#vxlan) if (entry.ifindex === ifindex) this.#vxlan.delete(key);
  }

  /** Unsorted lines: `br0 239.1.2.3 tap0 permanent`, `vx0 52:54:00:00:00:01 via 10.0.0.1 static`. */
  lines(nameOf: (ifindex: number) => string): readonly string[] {
    return [
      ...[...this.#groups.values()].map(({ bridgeIfindex, group, vlan, ifindex, state }) =>
        [
          nameOf(bridgeIfindex),
          group,
          ...(vlan === undefined ? [] : [`vlan ${vlan}`]),
          nameOf(ifindex),
          state,
        ].join(" "),
      ),
      ...[...this.#vxlan.values()].map(({ ifindex, macAddress, vtepAddress = "nowhere", state }) =>
        [nameOf(ifindex), macAddress, "via", vtepAddress, state].join(" "),
      ),
    ];
  }
}
