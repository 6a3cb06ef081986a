import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** What a tier may lack on a machine, and how it is told. */
const RESOURCES = {
  root: { isHere: () => process.getuid?.() === 0, lack: "root (network namespaces, taps)" },
  qemu: {
    isHere: () => onPath("qemu-system-x86_64"),
    lack: "qemu-system-x86_64 (Debian package qemu-system-x86)",
  },
  natsServer: { isHere: () => onPath("nats-server"), lack: "nats-server (Debian package nats-server)" },
  vlanFiltering: {
    isHere: bridgesFilterVlans,
    lack: "bridge vlan_filtering (a kernel with CONFIG_BRIDGE_VLAN_FILTERING)",
    isPartOf: "kernel",
  },
} as const satisfies Readonly<Record<string, Resource>>;

interface Resource {
  readonly isHere: () => boolean;
  readonly lack: string;
  /** What nothing that can be installed brings to a machine. */
  readonly isPartOf?: "kernel";
}

/**
 * The `skip` option of a test that needs these: false where all are here, else the reason, which the runner prints.
 * With CI=true nothing is skipped but what the kernel lacks: a machine that runs the whole suite can have all else, so the
 * test runs and fails.
 */
export function skipWithout(...resources: readonly (keyof typeof RESOURCES)[]): string | false {
  const missing = resources
    .map((name): Resource => RESOURCES[name])
    .filter(({ isHere, isPartOf }) => (process.env.CI !== "true" || isPartOf === "kernel") && !isHere());
  return missing.length === 0 ? false : `missing: ${missing.map(({ lack }) => lack).join(", ")}`;
}

/** Tried in a network namespace that ends with the attempt. */
function bridgesFilterVlans(): boolean {
  const command = ["--net", "ip", "link", "add", "br0", "type", "bridge", "vlan_filtering", "1"];
  return spawnSync("unshare", command, { stdio: "ignore", timeout: 10_000 }).status === 0;
}

function onPath(program: string): boolean {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => existsSync(join(folder, program)));
}
