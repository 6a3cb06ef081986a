import { existsSync } from "node:fs";
import { join } from "node:path";
import { programPath } from "./lab/program-path.ts";
import { repositoryRoot } from "./lab/repository-root.ts";
import { CHROMIUM } from "./observer/chromium.ts";

/** Where Debian's package has it, for Debian's own interpreter. */
const PYTHON_GRPC = "/usr/lib/python3/dist-packages/grpc/__init__.py";
const WELL_KNOWN = "/usr/include/google/protobuf/duration.proto";

export const PROMTOOL = join(repositoryRoot(), ".cache", "promtool", "usr", "bin", "promtool");

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
  chromium: {
    isHere: () => existsSync(CHROMIUM),
    lack: `${CHROMIUM} (Debian package chromium)`,
  },
  pythonGrpc: {
    isHere: () =>
      [PYTHON_GRPC, WELL_KNOWN, "/usr/bin/protoc", "/usr/bin/grpc_python_plugin"].every(existsSync),
    lack: "gRPC for Python (Debian packages python3-grpcio, protobuf-compiler, protobuf-compiler-grpc, libprotobuf-dev)",
  },
  promtool: {
    isHere: () => existsSync(PROMTOOL),
    lack: `promtool (of Debian's package prometheus, which deploy/prepare.sh unpacks to ${PROMTOOL})`,
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
