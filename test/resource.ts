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
} as const;

/**
 * The `skip` option of a test that needs these: false where all are here, else the reason, which the runner prints.
 * With CI=true nothing is skipped: a machine that runs the whole suite can have all of them, so the test runs and fails.
 */
export function skipWithout(...resources: readonly (keyof typeof RESOURCES)[]): string | false {
  const missing = resources.filter((name) => !RESOURCES[name].isHere()).map((name) => RESOURCES[name].lack);
  return missing.length === 0 || process.env.CI === "true" ? false : `missing: ${missing.join(", ")}`;
}

function onPath(program: string): boolean {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => existsSync(join(folder, program)));
}
