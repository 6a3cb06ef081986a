import type { DeviceFactory } from "../../agent/device/tap-creation.ts";
import type { KernelChange } from "../../agent/netlink/kernel-change.ts";
import type { BridgePortFlags, Link } from "../../agent/netlink/link.ts";
import type { FdbEntry } from "../../agent/netlink/neighbour.ts";
import type { RouteMessage, RoutePort, RouteResult } from "../../agent/netlink/route-port.ts";
import { answerOf, type RouteDump, type RouteRequest } from "../../agent/netlink/route-request.ts";
import { type MacAddress, parseMacAddress } from "../../proto/mac-address.ts";
import { done, refusal } from "./device-pretended-answer.ts";
import { PretendedRouting } from "./device-pretended-routing.ts";

const NEW_PORT: BridgePortFlags = {
  learning: "on",
  unicastFlood: "on",
  multicastFlood: "on",
  broadcastFlood: "on",
};
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
  /** By bridge and address. */
  readonly #entries = new Map<string, FdbEntry>();
  /** Of the parents of passthrough macvtaps. */
  readonly #addressesBeforePassthrough = new Map<number, MacAddress>();
  readonly #routing = new PretendedRouting();
  /** Grows with everything that may change something. */
  changes = 0;
  #lastIfindex = 1;
  readonly #registration: "replace" | "exclusive";
  /** Told what somebody else did to an entry. */
  onChange: (change: KernelChange) => void = () => {};
  /** Told when a frame moves an entry that somebody had made. */
  onStolen: (entry: FdbEntry) => void = () => {};

  /** `exclusive`: as if registrations came with NLM_F_EXCL, which finds what was learned in its way (trap 1). */
  constructor(registration: "replace" | "exclusive" = "replace") {
    this.#registration = registration;
  }

  execute({ requests }: { readonly requests: readonly RouteRequest[] }): RouteResult[] {
    return requests.map((request) => this.#carryOut(request));
  }

  ready(): void {}

  dump(dump: RouteDump): RouteMessage[] {
    if (dump.op === "dumpLinks") {
      const { masterIfindex } = dump;
      return [...this.#links.values()]
        .filter((link) => masterIfindex === undefined || link.masterIfindex === masterIfindex)
        .map((link) => ({ type: "link", link }));
    }
    return [...this.#entries.values()]
      .filter(({ masterIfindex }) => masterIfindex === dump.bridgeIfindex)
      .map((entry) => ({ type: "fdbEntry", entry }));
  }

  create(creation: { readonly deviceName: string }): void {
    this.#add(creation.deviceName, { kind: "tun", tunMode: "tap" });
  }

  addBridge(name: string): void {
    this.#add(name, { kind: "bridge", vlanFiltering: "off", state: "up" });
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
    this.#links.set(port.ifindex, { ...port, masterIfindex: master.ifindex, port: NEW_PORT });
  }

  /** A frame from `macAddress` comes in by the port: the bridge learns it, and moves what is not sticky (trap 2). */
  hearFrame(portName: string, macAddress: string): void {
    const port = this.link(portName);
    if (port?.masterIfindex === undefined || port.port?.learning !== "on") return;
    const key = `${port.masterIfindex} ${macAddress}`;
    const entry = this.#entries.get(key);
    if (entry?.ifindex === port.ifindex || entry?.sticky === "sticky") return;
    this.changes += 1;
    const mac = parseMacAddress(macAddress, "");
    const learned = {
      macAddress: mac,
      state: "dynamic",
      sticky: "plain",
      masterIfindex: port.masterIfindex,
    } as const;
    this.#entries.set(key, { ...(entry ?? learned), ifindex: port.ifindex });
    if (entry?.state === "static") this.onStolen(entry);
  }

  /** Somebody else removes the entry (`bridge fdb flush`). */
  flushEntry(bridge: string, macAddress: string): void {
    const entry = this.entry(bridge, macAddress);
    if (entry === undefined) return;
    this.changes += 1;
    this.#entries.delete(`${entry.masterIfindex} ${macAddress}`);
    this.onChange({ kind: "fdbEntryRemoved", entry });
  }

  /** Somebody else points the entry to another port (an EVPN daemon's `extern_learn`). */
  takeEntry(bridge: string, macAddress: string, portName: string): void {
    const entry = this.entry(bridge, macAddress);
    const port = this.link(portName);
    if (entry === undefined || port === undefined) return;
    this.changes += 1;
    const taken: FdbEntry = { ...entry, ifindex: port.ifindex, sticky: "plain" };
    this.#entries.set(`${entry.masterIfindex} ${macAddress}`, taken);
    this.onChange({ kind: "fdbEntryChanged", entry: taken });
  }

  /** What the bridge holds for the address. */
  entry(bridge: string, macAddress: string): FdbEntry | undefined {
    const ifindex = this.link(bridge)?.ifindex;
    return ifindex === undefined ? undefined : this.#entries.get(`${ifindex} ${macAddress}`);
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
    this.#forgetEntries(link.ifindex);
    this.#routing.remove(link.ifindex);
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

  /** Sorted text: `br0 52:54:00:00:00:01 tap0 static sticky`. */
  renderEntries(): string {
    return [...this.#entries.values()]
      .map(({ masterIfindex, macAddress, ifindex, state, sticky }) =>
        [this.#nameOf(masterIfindex ?? 0), macAddress, this.#nameOf(ifindex), state, sticky].join(" "),
      )
      .sort()
      .join("\n");
  }

  /** Sorted text: `169.254.0.1/32 on tap0`, `192.0.2.7/32 by tap0`. */
  renderRouting(): string {
    return this.#routing.render((ifindex) => this.#nameOf(ifindex));
  }

  #carryOut(request: RouteRequest): RouteResult {
    if (answerOf(request) === "ack") this.changes += 1;
    switch (request.op) {
      case "getLink": {
        const link = this.link(request.name);
        return link === undefined ? refusal(ENODEV) : { ok: true, messages: [{ type: "link", link }] };
      }
      case "getFdbEntry": {
        if (this.#links.get(request.bridgeIfindex)?.kind !== "bridge") return refusal(EINVAL);
        const entry = this.#entries.get(`${request.bridgeIfindex} ${request.macAddress}`);
        return entry === undefined ? refusal(ENOENT) : { ok: true, messages: [{ type: "fdbEntry", entry }] };
      }
      case "replaceFdbEntry":
      case "deleteFdbEntry":
        return this.#changeEntry(request);
      case "setLink":
      case "setBridgePort":
        return this.#changeLink(request);
      case "createMacvtap":
        return this.#createMacvtap(request);
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
      case "getAddresses":
      case "replaceAddress":
      case "deleteAddress":
      case "replaceRoute":
      case "deleteRoute":
        return this.#routing.carryOut(request, this.#links.get(request.ifindex));
    }
  }

  #changeEntry(request: Extract<RouteRequest, { op: "replaceFdbEntry" | "deleteFdbEntry" }>): RouteResult {
    const { ifindex, macAddress } = request;
    const link = this.#links.get(ifindex);
    if (link === undefined) return refusal(ENODEV);
    const masterIfindex = link.masterIfindex;
    if (masterIfindex === undefined) return refusal(EOPNOTSUPP);
    const key = `${masterIfindex} ${macAddress}`;
    if (request.op === "replaceFdbEntry") {
      if (this.#registration === "exclusive" && this.#entries.has(key)) return refusal(EEXIST);
      this.#entries.set(key, { ifindex, macAddress, state: "static", sticky: request.sticky, masterIfindex });
      return done;
    }
    if (this.#entries.get(key)?.ifindex !== ifindex) return refusal(ENOENT);
    this.#entries.delete(key);
    return done;
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

  #amend(ifindex: number, change: Partial<Link>): void {
    const link = this.#links.get(ifindex);
    if (link !== undefined) this.#links.set(ifindex, { ...link, ...change });
  }

  #changeLink(request: Extract<RouteRequest, { op: "setLink" | "setBridgePort" }>): RouteResult {
    const link = this.#links.get(request.ifindex);
    if (link === undefined) return refusal(ENODEV);
    if (request.op === "setBridgePort") {
      if (link.port === undefined) return refusal(EOPNOTSUPP);
      this.#links.set(link.ifindex, { ...link, port: request.flags });
      return done;
    }
    const { masterIfindex, ...change } = request.change;
    if (change.state === "up" && link.state === "down" && this.#isAddressTaken(link)) {
      return refusal(EADDRINUSE);
    }
    if (change.macAddress !== undefined && link.macvlanMode === "passthrough") {
      this.#amend(link.parentIfindex ?? 0, { macAddress: change.macAddress });
    }
    if (change.state === "down") this.#routing.goDown(link.ifindex);
    this.#links.set(link.ifindex, Object.assign({}, link, change));
    if (masterIfindex === 0) this.leaveBridge(link.name);
    else if (masterIfindex !== undefined) {
      this.#links.set(link.ifindex, Object.assign({}, link, change, { masterIfindex, port: NEW_PORT }));
    }
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

  #release({ masterIfindex: _master, port: _port, ...link }: Link): void {
    this.changes += 1;
    this.#forgetEntries(link.ifindex);
    this.#links.set(link.ifindex, link);
  }

  #forgetEntries(ifindex: number): void {
    for (const [key, entry] of this.#entries) {
      if (entry.ifindex === ifindex || entry.masterIfindex === ifindex) this.#entries.delete(key);
    }
  }

  #nameOf(ifindex: number): string {
    return this.#links.get(ifindex)?.name ?? `gone(${ifindex})`;
  }
}
