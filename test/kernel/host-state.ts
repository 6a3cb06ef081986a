import { setTimeout as sleep } from "node:timers/promises";
import { run } from "./in-network-namespace.ts";

interface FdbLine {
  readonly mac: string;
  readonly vlan?: number;
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly master?: string;
  readonly state?: string;
}

interface LinkLine {
  readonly ifname: string;
  readonly flags: readonly string[];
  readonly master?: string;
  readonly inet6_addr_gen_mode?: string;
  readonly ifalias?: string;
  readonly address?: string;
  readonly operstate?: string;
  readonly link?: string;
  readonly altnames?: readonly string[];
  readonly linkinfo?: {
    readonly info_kind?: string;
    readonly info_data?: { readonly mode?: string };
    readonly info_slave_data?: Readonly<Record<string, unknown>>;
  };
}

const SETTLING_MS = 3_000;

/** Where the bridges of the namespace deliver `mac`, as `bridge` itself tells: `tap0 br0 static sticky`. */
export function fdbOf(mac: string): string {
  const lines = JSON.parse(run("bridge", "-j", "fdb", "show")) as FdbLine[];
  const entries = lines
    .filter((line) => line.mac === mac && line.master !== undefined)
    .map(({ vlan, ifname, master, state, flags }) => {
      const where = vlan === undefined ? ifname : `${ifname} vlan ${vlan}`;
      return [where, master, state || "dynamic", ...flags].join(" ");
    });
  return withoutCopies(entries).sort().join("\n");
}

/** The lines of `bridge fdb show` about these addresses, sorted: in the bridges' tables and in those of VXLAN devices. */
export function fdbText(...macs: readonly string[]): string {
  const text = sortedLines(run("bridge", "fdb", "show"), (line) => macs.some((mac) => line.startsWith(mac)));
  return withoutCopies(text.split("\n")).join("\n");
}

/**
 * Without what a kernel that can filter VLANs adds by itself: beside an entry in no VLAN, one in each of the port's VLANs,
 * which on a bridge that does not filter is looked up by nobody. It is removed with that entry; one that stays alone shows.
 */
function withoutCopies(entries: readonly string[]): string[] {
  return entries.filter((entry) => {
    const inNone = entry.replace(/ vlan \d+/, "");
    return inNone === entry || !entries.includes(inNone);
  });
}

/** The lines of `bridge mdb show` about a port, sorted: `dev br0 port tap0 grp 239.1.2.3 permanent`. */
export function mdbText(deviceName: string): string {
  return sortedLines(run("bridge", "mdb", "show"), (line) => line.includes(` port ${deviceName} `));
}

function sortedLines(text: string, isWanted: (line: string) => boolean): string {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter(isWanted)
    .sort()
    .join("\n");
}

/** The VLANs of a port as `bridge` itself tells: `7, 9`, `7 PVID Egress Untagged`. */
export function vlansOf(deviceName: string): string {
  return run("bridge", "vlan", "show", "dev", deviceName)
    .split("\n")
    .slice(1)
    .map((line) => line.replace(deviceName, "").trim())
    .filter((line) => line !== "")
    .join(", ");
}

/** A port as `ip` itself tells: `tap0 br0 up none learning=off flood=off mcast=off bcast=off`. */
export function portOf(deviceName: string): string {
  const [link] = JSON.parse(run("ip", "-j", "-d", "link", "show", "dev", deviceName)) as LinkLine[];
  if (link === undefined) return "";
  const port = link.linkinfo?.info_slave_data ?? {};
  const flag = (name: string): string => (port[name] === true ? "on" : port[name] === false ? "off" : "-");
  return [
    link.ifname,
    link.master ?? "-",
    link.flags.includes("UP") ? "up" : "down",
    link.inet6_addr_gen_mode ?? "-",
    `learning=${flag("learning")}`,
    `flood=${flag("flood")}`,
    `mcast=${flag("mcast_flood")}`,
    `bcast=${flag("bcast_flood")}`,
  ].join(" ");
}

/** A device on its own or on a parent, as `ip` itself tells: `mv0 on eth0 bridge up UP 52:54:00:00:00:01 none`. */
export function linkOf(deviceName: string): string {
  const link = settledLink(deviceName);
  if (link === undefined) return "";
  const { info_data: data, info_kind: kind } = link.linkinfo ?? {};
  return [
    link.ifname,
    ...(kind === "macvtap" ? ["on", link.link ?? "?", data?.mode ?? "?"] : []),
    link.flags.includes("UP") ? "up" : "down",
    link.operstate,
    link.address,
    link.inet6_addr_gen_mode,
    ...(link.altnames ?? []),
  ].join(" ");
}

/** Kernels before 6.8 tell up to a second late whether a link works (linkwatch): until its state is that of its carrier. */
function settledLink(deviceName: string): LinkLine | undefined {
  const deadlineMs = performance.now() + SETTLING_MS;
  for (;;) {
    const [link] = JSON.parse(run("ip", "-j", "-d", "link", "show", "dev", deviceName)) as LinkLine[];
    const isSettled = link?.flags.includes("LOWER_UP") === (link?.operstate === "UP");
    if (link === undefined || isSettled || performance.now() > deadlineMs) return link;
  }
}

interface AddressLine {
  readonly addr_info: readonly {
    readonly local: string;
    readonly prefixlen: number;
    readonly scope: string;
    readonly tentative?: boolean;
  }[];
}

interface RouteLine {
  readonly dst: string;
  readonly protocol: string;
  readonly metric?: number;
}

/**
 * What leads by a device, as `ip` itself tells: `tap0 up none`, then its addresses (`169.254.0.1/32 link`), then the
 * routes by it (`192.0.2.7 static`), a line each.
 */
export function routedOf(deviceName: string): string {
  const [addresses] = JSON.parse(run("ip", "-j", "addr", "show", "dev", deviceName)) as AddressLine[];
  const routes = ["-4", "-6"].flatMap(
    (family) => JSON.parse(run("ip", "-j", family, "route", "show", "dev", deviceName)) as RouteLine[],
  );
  return [
    portOf(deviceName).split(" learning=")[0],
    ...(addresses?.addr_info ?? [])
      .map(({ local, prefixlen, scope, tentative }) =>
        [`${local}/${prefixlen}`, scope, tentative === true ? "tentative" : ""].join(" ").trim(),
      )
      .sort(),
    ...routes.map(({ dst, protocol, metric }) => [dst, protocol, metric ?? ""].join(" ").trim()).sort(),
  ].join("\n");
}

/** The names of all devices of the namespace, sorted. */
export function deviceNames(): string {
  const links = JSON.parse(run("ip", "-j", "link", "show")) as LinkLine[];
  return links
    .map((link) => link.ifname)
    .sort()
    .join(" ");
}

/** Waits until `read` returns something else than undefined; fails after five seconds, naming what was awaited. */
export async function eventually<T>(what: string, read: () => T | undefined): Promise<T> {
  for (let i = 0; i < 1000; i++) {
    const value = read();
    if (value !== undefined) return value;
    await sleep(5);
  }
  throw new Error(`Waited in vain for ${what}.`);
}
