import { programPath } from "./lab/program-path.ts";

/** What a tier may lack on a machine, and how it is told. */
const RESOURCES = {
  root: { isHere: () => process.getuid?.() === 0, lack: "root (network namespaces, taps)" },
  qemu: {
    isHere: () => programPath("qemu-system-x86_64") !== undefined,
    lack: "qemu-system-x86_64 (Debian package qemu-system-x86)",
  },
  natsServer: {
    isHere: () => programPath("nats-server") !== undefined,
    lack: "nats-server (Debian package nats-server)",
  },
} as const satisfies Readonly<Record<string, Resource>>;

interface Resource {
  readonly isHere: () => boolean;
  readonly lack: string;
}

/**
 * The `skip` option of a test that needs these: false where all are here, else the reason, which the runner prints.
 * With CI=true nothing is skipped: a machine that runs the whole suite can have all of it, so the test runs and fails.
 */
export function skipWithout(...resources: readonly (keyof typeof RESOURCES)[]): string | false {
  if (process.env.CI === "true") return false;
  const missing = resources.map((name): Resource => RESOURCES[name]).filter(({ isHere }) => !isHere());
  return missing.length === 0 ? false : `missing: ${missing.map(({ lack }) => lack).join(", ")}`;
}
