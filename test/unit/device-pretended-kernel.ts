import type { DeviceFactory } from "../../agent/device/tap-creation.ts";
import type { KernelChange } from "../../agent/netlink/kernel-change.ts";
import type { BridgePortFlags, Link, VxlanParameters } from "../../agent/netlink/link.ts";
import type { FdbEntry } from "../../agent/netlink/neighbour.ts";
import type { RouteMessage, RoutePort, RouteResult } from "../../agent/netlink/route-port.ts";
import { answerOf, type RouteDump, type RouteRequest } from "../../agent/netlink/route-request.ts";
import { parseIpAddress } from "../../proto/ip-address.ts";
import type { IpPrefix } from "../../proto/ip-prefix.ts";
import { type MacAddress, parseMacAddress } from "../../proto/mac-address.ts";
import { done, refusal } from "./device-pretended-answer.ts";
import { PretendedForwarding } from "./device-pretended-forwarding.ts";
import { PretendedRouting } from "./device-pretended-routing.ts";
import { PretendedTables } from "./device-pretended-tables.ts";

const NEW_PORT: BridgePortFlags = {
  learning: "on",
  unicastFlood: "on",
  multicastFlood: "on",
  broadcastFlood: "on",
};
/** What a bridge puts its new ports into. */
const DEFAULT_PVID = 1;
const ENOENT = 2;
const EBUSY = 16;
const EEXIST = 17;
const ENODEV = 19;
const EINVAL = 22;
const EOPNOTSUPP = 95;
const EADDRINUSE = 98;

/** The part of the kernel that devices need, with its answers as measured on Linux 6.18. */
export class PretendedKernel implements RoutePort, DeviceFactory {
  readonly #links = new Map<number, Link>();
  readonly #forwarding: PretendedForwarding;
  /** Of the parents of passthrough macvtaps. */
  readonly #addressesBeforePassthrough = new Map<number, MacAddress>();
  readonly #routing = new PretendedRouting();
  readonly tables = new PretendedTables();
  /** Whether it is 5.19 or newer. */
  bulkDeletion: "known" | "unknown" = "known";
  /** Grows with everything that may change something. */
  changes = 0;
  #lastIfindex = 1;
  /** Told what somebody else did to an entry. */
  onChange: (change: KernelChange) => void = () => {};
  /** Told when a frame moves an entry that somebody had made. */
  onStolen: (entry: FdbEntry) => void = () => {};

  /** `exclusive`: as if registrations came with NLM_F_EXCL, which finds what was learned in its way (trap 1). */
  constructor(registration: "replace" | "exclusive" = "replace") {
    this.#forwarding = new PretendedForwarding(registration);
  }

  execute({ requests }: { readonly requests: readonly RouteRequest[] }): RouteResult[] {
    return requests.map((request) => this.#carryOut(request));
  }

  ready(): void {}

  dump(dump: RouteDump): RouteMessage[] {
    if (dump.op === "dumpLinks") {
      const { kind, masterIfindex } = dump;
      return [...this.#links.values()]
        .filter((link) => masterIfindex === undefined || link.masterIfindex === masterIfindex)
        .filter((link) => kind === undefined || link.kind === kind)
        .map((link) => ({ type: "link", link }));
    }
    if (dump.op === "dumpPortVlans") {
      const vlans = this.#links.get(dump.ifindex)?.portVlans ?? [];
      return [{ type: "portVlans", ifindex: dump.ifindex, vlans }];
    }
    return this.#forwarding.of(dump.bridgeIfindex).map((entry) => ({ type: "fdbEntry", entry }));
  }

  create(creation: { readonly deviceName: string }): void {
    this.#add(creation.deviceName, { kind: "tun", tunMode: "tap" });
  }

  addBridge(name: string, change: Partial<Link> = {}): void {
    this.#add(name, {
      kind: "bridge",
      vlanFiltering: "off",
      multicastSnooping: "off",
      state: "up",
      ...change,
    });
  }

  /** A VXLAN device that is a port of the bridge, bound to 10.0.0.1. */
  addVxlan(name: string, bridge: string, change: Partial<VxlanParameters> = {}): void {
    const localAddress = parseIpAddress("10.0.0.1", "");
    this.addPort(name, bridge);
    this.change(name, { kind: "vxlan", vxlan: { vni: 100, vniFrom: "device", localAddress, ...change } });
  }

  /** Somebody else changes the device. */
  change(name: string, change: Partial<Link>): void {
    const link = this.link(name);
    if (link === undefined) return;
    this.changes += 1;
    this.#links.set(link.ifindex, Object.assign({}, link, change));
  }

  /** A device that macvtaps can stand on. */
  addParent(name: string, state: "up" | "down" = "up"): void {
    this.#add(name, { kind: "veth", state });
  }

  /** A port that learns, as an uplink does. */
  addPort(name: string, bridge: string): void {
    this.#add(name, { kind: "veth", state: "up", operState: "up" });
    const port = this.link(name);
    const master = this.link(bridge);
    if (port === undefined || master === undefined) return;
    const { ifindex: masterIfindex } = master;
    this.#links.set(port.ifindex, Object.assign({}, port, { masterIfindex, port: NEW_PORT }));
  }

  /** A frame from `macAddress` comes in by the port: the bridge learns it, and moves what is not sticky (trap 2). */
  hearFrame(portName: string, macAddress: string): void {
    const port = this.link(portName);
    if (port?.masterIfindex === undefined || port.port?.learning !== "on") return;
    const learned = this.#forwarding.learn(port.ifindex, port.masterIfindex, parseMacAddress(macAddress, ""));
    if (learned === "nothing") return;
    this.changes += 1;
    if (learned.movedFrom?.state === "static") this.onStolen(learned.movedFrom);
  }

  /** Somebody else removes the entry (`bridge fdb flush`). */
  flushEntry(bridge: string, macAddress: string, vlan?: number): void {
    const entry = this.entry(bridge, macAddress, vlan);
    if (entry === undefined) return;
    this.changes += 1;
    this.#forwarding.delete(entry);
    this.onChange({ kind: "fdbEntryRemoved", entry });
  }

  /** Somebody else points the entry to another port (an EVPN daemon's `extern_learn`). */
  takeEntry(bridge: string, macAddress: string, portName: string, vlan?: number): void {
    const entry = this.entry(bridge, macAddress, vlan);
    const port = this.link(portName);
    if (entry === undefined || port === undefined) return;
    this.changes += 1;
    const taken: FdbEntry = { ...entry, ifindex: port.ifindex, sticky: "plain" };
    this.#forwarding.set(taken);
    this.onChange({ kind: "fdbEntryChanged", entry: taken });
  }

  /** Somebody else sets the device down; what stands on it loses its carrier. */
  lower(name: string): void {
    const link = this.link(name);
    if (link === undefined || link.state === "down") return;
    this.changes += 1;
    this.#amend(link.ifindex, { state: "down" });
    this.#tellAddressesGone(link.ifindex, this.#routing.goDown(link.ifindex));
    for (const { ifindex } of [link, ...this.#stackedOn(link.ifindex)]) this.#tellLink(ifindex);
  }

  /** Somebody else sets flags of a bridge's port off. */
  shutPort(name: string, flags: readonly (keyof BridgePortFlags)[]): void {
    const link = this.link(name);
    if (link?.port === undefined) return;
    this.changes += 1;
    const port = { ...link.port };
    for (const flag of flags) port[flag] = "off";
    this.#amend(link.ifindex, { port });
    this.#tellLink(link.ifindex);
  }

  /** Somebody else removes all addresses of a device (`ip address flush`). */
  flushAddresses(name: string): void {
    const ifindex = this.link(name)?.ifindex ?? 0;
    this.changes += 1;
    this.#tellAddressesGone(ifindex, this.#routing.flushAddresses(ifindex));
  }

  /** Somebody else removes all routes by a device (`ip route flush`), which is not told. */
  flushRoutes(name: string): void {
    this.changes += 1;
    this.#routing.flushRoutes(this.link(name)?.ifindex ?? 0);
  }

  hasAddress(name: string, address: IpPrefix): boolean {
    return this.#routing.hasAddress(this.link(name)?.ifindex ?? 0, address);
  }

  isRoutedTo(name: string, prefix: IpPrefix): boolean {
    return this.#routing.deviceOf(prefix) === (this.link(name)?.ifindex ?? 0);
  }

  /** What the bridge holds for the address. */
  entry(bridge: string, macAddress: string, vlan?: number): FdbEntry | undefined {
    const ifindex = this.link(bridge)?.ifindex;
    return ifindex === undefined ? undefined : this.#forwarding.find(ifindex, macAddress, vlan);
  }

  isInGroup(portName: string, bridge: string, group: string, vlan?: number): boolean {
    return this.tables.isMember(
      this.link(bridge)?.ifindex ?? 0,
      group,
      vlan,
      this.link(portName)?.ifindex ?? 0,
    );
  }

  isBehindVtep(vxlanName: string, macAddress: string): boolean {
    const device = this.link(vxlanName);
    return (
      device?.vxlan !== undefined && this.tables.isBehindVtep(device.ifindex, macAddress, device.vxlan.vni)
    );
  }

  link(name: string): Link | undefined {
    for (const link of this.#links.values()) if (link.name === name) return link;
    return undefined;
  }

  /** Takes a device away, and with it what the bridges hold for it. */
  remove(name: string): void {
    const link = this.link(name);
    if (link === undefined) return;
    for (const port of this.#links.values()) {
      if (port.masterIfindex === link.ifindex) this.#release(port);
    }
    for (const child of this.#stackedOn(link.ifindex)) this.remove(child.name);
    this.changes += 1;
    this.#forwarding.forget(link.ifindex);
    this.#routing.remove(link.ifindex);
    this.tables.forget(link.ifindex, "device");
    this.#links.delete(link.ifindex);
    const original = this.#addressesBeforePassthrough.get(link.parentIfindex ?? 0);
    if (link.macvlanMode !== "passthrough" || original === undefined) return;
    this.#amend(link.parentIfindex ?? 0, { macAddress: original });
    this.#addressesBeforePassthrough.delete(link.parentIfindex ?? 0);
  }

  leaveBridge(name: string): void {
    const link = this.link(name);
    if (link !== undefined) this.#release(link);
  }

  /** Sorted text: `mv0 on eth0 bridge up 52:54:00:00:00:01`, `eth0 down 0a:00:00:00:00:02 switchover-raises-2`. */
  renderMacvtaps(): string {
    return [...this.#links.values()]
      .filter(({ kind }) => kind === "macvtap" || kind === "veth")
      .map(({ altNames = [], macAddress, macvlanMode, name, parentIfindex, state }) =>
        (parentIfindex === undefined
          ? [name, state, macAddress, ...altNames]
          : [name, "on", this.#nameOf(parentIfindex), macvlanMode, state, macAddress]
        ).join(" "),
      )
      .sort()
      .join("\n");
  }

  /** Sorted text: `br0 52:54:00:00:00:01 tap0 static sticky`, `br0 52:54:00:00:00:01 vlan 7 tap0 static sticky`. */
  renderEntries(): string {
    const nameOf = (ifindex: number): string => this.#nameOf(ifindex);
    return [...this.#forwarding.lines(nameOf), ...this.tables.lines(nameOf)].sort().join("\n");
  }

  /** Sorted text: `169.254.0.1/32 on tap0`, `192.0.2.7/32 by tap0`. */
  renderRouting(): string {
    return this.#routing.render((ifindex) => this.#nameOf(ifindex));
  }

  #carryOut(request: RouteRequest): RouteResult {
    if (answerOf(request) === "ack") this.changes += 1;
    switch (request.op) {
      case "getLink": {
        const found = "name" in request ? this.link(request.name) : this.#links.get(request.ifindex);
        if (found === undefined) return refusal(ENODEV);
        return { ok: true, messages: [{ type: "link", link: withoutVlans(found) }] };
      }
      case "getFdbEntry": {
        const { bridgeIfindex, macAddress, vlan } = request;
        if (this.#links.get(bridgeIfindex)?.kind !== "bridge") return refusal(EINVAL);
        const entry = this.#forwarding.find(bridgeIfindex, macAddress, vlan);
        return entry === undefined ? refusal(ENOENT) : { ok: true, messages: [{ type: "fdbEntry", entry }] };
      }
      case "replaceFdbEntry":
      case "deleteFdbEntry":
        return this.#forwarding.carryOut(request, this.#links.get(request.ifindex));
      case "flushStaticEntries":
        return this.bulkDeletion === "known" ? this.#forwarding.flush(request) : refusal(EINVAL);
      case "replaceGroupEntry":
      case "deleteGroupEntry":
      case "getGroupEntry":
        return this.tables.carryOutOnGroup(this.#links, request);
      case "replaceVxlanEntry":
      case "deleteVxlanEntry":
      case "getVxlanEntry":
        return this.tables.carryOutOnVxlan(this.#links, request);
      case "keepPortVlans":
      case "addPortVlans":
        return this.#changeVlans(request);
      case "setLink":
      case "setBridgePort":
        return this.#changeLink(request);
      case "createMacvtap":
        return this.#createMacvtap(request);
      case "setMacvtapMode":
        return this.#setMacvtapMode(request);
      case "setAltName":
        return this.#setAltName(request);
      case "createLink":
        this.#add(request.name, { kind: request.kind });
        return done;
      case "deleteLink": {
        const link = this.#links.get(request.ifindex);
        if (link === undefined) return refusal(ENODEV);
        this.remove(link.name);
        return done;
      }
      case "getRoute":
        return this.#routing.carryOut(request, undefined);
      case "getRoutes":
      case "getAddresses":
      case "replaceAddress":
      case "deleteAddress":
      case "replaceRoute":
      case "deleteRoute":
        return this.#routing.carryOut(request, this.#links.get(request.ifindex));
    }
  }

  #createMacvtap(request: Extract<RouteRequest, { op: "createMacvtap" }>): RouteResult {
    const { mode: macvlanMode, name, parentIfindex } = request;
    const parent = this.#links.get(parentIfindex);
    if (this.link(name) !== undefined) return refusal(EEXIST);
    if (parent === undefined) return refusal(ENODEV);
    if (parent.masterIfindex !== undefined) return refusal(EBUSY);
    const others = this.#stackedOn(parentIfindex);
    const isShared = others.length > 0 && macvlanMode === "passthrough";
    if (isShared || others.some((other) => other.macvlanMode === "passthrough")) return refusal(EINVAL);
    const { macAddress } = parent;
    if (macvlanMode === "passthrough" && macAddress !== undefined) {
      this.#addressesBeforePassthrough.set(parentIfindex, macAddress);
      this.#add(name, { kind: "macvtap", parentIfindex, macvlanMode, macAddress });
    } else this.#add(name, { kind: "macvtap", parentIfindex, macvlanMode });
    return done;
  }

  #setMacvtapMode({ ifindex, mode }: Extract<RouteRequest, { op: "setMacvtapMode" }>): RouteResult {
    const link = this.#links.get(ifindex);
    if (link === undefined) return refusal(ENODEV);
    if (link.kind !== "macvtap") return refusal(EOPNOTSUPP);
    if ((mode === "passthrough") !== (link.macvlanMode === "passthrough")) return refusal(EINVAL);
    this.#amend(ifindex, { macvlanMode: mode });
    return done;
  }

  #setAltName(request: Extract<RouteRequest, { op: "setAltName" }>): RouteResult {
    const { altName, ifindex, presence } = request;
    const link = this.#links.get(ifindex);
    if (link === undefined) return refusal(ENODEV);
    const names = link.altNames ?? [];
    if (names.includes(altName) === (presence === "present"))
      return refusal(presence === "present" ? EEXIST : ENOENT);
    const altNames = presence === "present" ? [...names, altName] : names.filter((name) => name !== altName);
    this.#amend(ifindex, { altNames });
    return done;
  }

  #isAddressTaken({ ifindex, macAddress, macvlanMode, parentIfindex }: Link): boolean {
    if (parentIfindex === undefined || macvlanMode === "passthrough") return false;
    const others = this.#stackedOn(parentIfindex).filter((other) => other.ifindex !== ifindex);
    if (others.some((other) => other.state === "up" && other.macAddress === macAddress)) return true;
    return this.#links.get(parentIfindex)?.macAddress === macAddress;
  }

  #stackedOn(ifindex: number): Link[] {
    return [...this.#links.values()].filter(({ parentIfindex }) => parentIfindex === ifindex);
  }

  #tellAddressesGone(ifindex: number, addresses: readonly IpPrefix[]): void {
    for (const address of addresses) {
      this.onChange({ kind: "addressRemoved", address: { ifindex, address } });
    }
  }

  #tellLink(ifindex: number): void {
    const link = this.#links.get(ifindex);
    if (link !== undefined) this.onChange({ kind: "linkChanged", link });
  }

  #amend(ifindex: number, change: Partial<Link>): void {
    const link = this.#links.get(ifindex);
    if (link !== undefined) this.#links.set(ifindex, Object.assign({}, link, change));
  }

  #changeLink(request: Extract<RouteRequest, { op: "setLink" | "setBridgePort" }>): RouteResult {
    const link = this.#links.get(request.ifindex);
    if (link === undefined) return refusal(ENODEV);
    if (request.op === "setBridgePort") {
      if (link.port === undefined) return refusal(EOPNOTSUPP);
      this.#links.set(link.ifindex, { ...link, port: request.flags });
      return done;
    }
    const { change } = request;
    const { masterIfindex } = change;
    if (change.state === "up" && link.state === "down" && this.#isAddressTaken(link)) {
      return refusal(EADDRINUSE);
    }
    if (change.macAddress !== undefined && link.macvlanMode === "passthrough") {
      this.#amend(link.parentIfindex ?? 0, { macAddress: change.macAddress });
    }
    if (change.state === "down") this.#routing.goDown(link.ifindex);
    const filters = masterIfindex !== undefined && this.#links.get(masterIfindex)?.vlanFiltering === "on";
    if (masterIfindex === undefined) this.#links.set(link.ifindex, Object.assign({}, link, change));
    else if (masterIfindex === 0) this.#release(Object.assign({}, link, change));
    else {
      this.#links.set(link.ifindex, Object.assign({}, link, change, { port: NEW_PORT }));
      if (filters) this.change(link.name, { portVlans: [DEFAULT_PVID] });
    }
    return done;
  }

  #changeVlans({
    op,
    ifindex,
    vlans,
  }: Extract<RouteRequest, { op: "keepPortVlans" | "addPortVlans" }>): RouteResult {
    const link = this.#links.get(ifindex);
    if (link === undefined) return refusal(ENODEV);
    const { portVlans: had = [] } = link;
    if (link.masterIfindex === undefined) return refusal(EOPNOTSUPP);
    const portVlans =
      op === "keepPortVlans" ? had.filter((vlan) => vlans.includes(vlan)) : [...new Set([...had, ...vlans])];
    this.change(link.name, { portVlans });
    return done;
  }

  #add(name: string, change: Partial<Link>): void {
    const ifindex = ++this.#lastIfindex;
    this.#links.set(ifindex, {
      ifindex,
      name,
      state: "down",
      operState: "down",
      macAddress: parseMacAddress(`0a:00:00:00:00:${ifindex.toString(16).padStart(2, "0")}`, ""),
      mtu: 1500,
      txQueueLength: 1000,
      addrGenMode: "eui64",
      ...change,
    });
  }

  #release({ masterIfindex: _master, port: _port, portVlans: _vlans, ...link }: Link): void {
    this.changes += 1;
    this.#forwarding.forget(link.ifindex);
    this.tables.forget(link.ifindex, "port");
    this.#links.set(link.ifindex, link);
  }

  #nameOf(ifindex: number): string {
    return this.#links.get(ifindex)?.name ?? `gone(${ifindex})`;
  }
}

/** What RTM_GETLINK tells of a device: a bridge port's VLANs are for who asks for them. */
function withoutVlans(link: Link): Link {
  if (link.portVlans === undefined) return link;
  const { portVlans: _asked, ...told } = link;
  return told;
}
