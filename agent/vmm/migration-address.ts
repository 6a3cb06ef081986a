import { isJsonObject } from "./qmp-codec.ts";

/** Where a destination's QEMU listens for the migration stream (`socket-address` of `query-migrate`). */
export type MigrationAddress =
  | { readonly kind: "inet"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/**
 * The URI that the source's `migrate` takes. The host is what QEMU was told to listen on: after `tcp:0.0.0.0:0` it
 * is 0.0.0.0, and the caller puts the host's own address in its place.
 */
export function migrationUriOf(address: MigrationAddress): string {
  switch (address.kind) {
    case "inet": {
      const host = address.host.includes(":") ? `[${address.host}]` : address.host;
      return `tcp:${host}:${address.port}`;
    }
    case "unix":
      return `unix:${address.path}`;
  }
}

/** The addresses in QEMU's order, newest first; other kinds (vsock, fd) are left out, as is no list at all. */
export function parseMigrationAddresses(value: unknown): readonly MigrationAddress[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry: unknown): MigrationAddress[] => {
    if (!isJsonObject(entry)) return [];
    const { type, host, port, path } = entry;
    if (type === "inet" && typeof host === "string" && typeof port === "string") {
      return [{ kind: "inet", host, port: Number(port) }];
    }
    return type === "unix" && typeof path === "string" ? [{ kind: "unix", path }] : [];
  });
}
