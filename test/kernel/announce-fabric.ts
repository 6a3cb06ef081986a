import { run } from "./in-network-namespace.ts";
import { addBridge, addUplink, type TapEnd } from "./tap-end.ts";

/**
 * The other hosts behind an uplink: a switch that learns, `sw0`, and a wire on which all that it floods is heard.
 *
 *     br0 or a macvtap --- uplink ===veth=== uplink-far --- sw0 --- wire0
 */
export interface Fabric {
  readonly wire: TapEnd;
  /** The kernel's index of `uplink`. */
  readonly uplinkIfindex: number;
}

/** `bridge` is what the uplink is a port of, if of any. */
export function addFabric(bridge?: string): Fabric {
  addBridge("sw0");
  run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "uplink-far");
  for (const [name, master] of [
    ["uplink", bridge],
    ["uplink-far", "sw0"],
  ] as const) {
    run("ip", "link", "set", name, "addrgenmode", "none");
    if (master !== undefined) run("ip", "link", "set", name, "master", master);
    run("ip", "link", "set", name, "up");
  }
  const [link] = JSON.parse(run("ip", "-j", "link", "show", "dev", "uplink")) as { ifindex: number }[];
  return { wire: addUplink("wire0", "sw0"), uplinkIfindex: link?.ifindex ?? 0 };
}

/** In hexadecimal, the frames from `mac` that wait at the end of a tap. */
export function framesFrom(mac: string, end: TapEnd): readonly string[] {
  const source = mac.replaceAll(":", "");
  return end.frames().flatMap((frame) => {
    const hex = frame.toString("hex");
    return hex.slice(12, 24) === source ? [hex] : [];
  });
}
