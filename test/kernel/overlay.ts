import { run } from "./in-network-namespace.ts";

/** This host's own VTEP, and that of the host where the guest runs before. */
export const VTEP = "10.0.0.1";
export const SOURCE_VTEP = "10.0.0.9";
export const VNI = 100;

/** Both VTEPs, and vx0 on br0. */
export function addOverlay(): void {
  run("ip", "link", "set", "lo", "up");
  for (const address of [VTEP, SOURCE_VTEP]) run("ip", "addr", "add", `${address}/32`, "dev", "lo");
  addVxlan();
}

/** A VXLAN device that learns, on br0. */
export function addVxlan(): void {
  run("ip", "link", "add", "vx0", "type", "vxlan", "id", String(VNI), "local", VTEP, "dstport", "4789");
  run("ip", "link", "set", "vx0", "addrgenmode", "none", "master", "br0");
  run("ip", "link", "set", "vx0", "up");
}
