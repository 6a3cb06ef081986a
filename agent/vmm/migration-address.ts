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

/** A host name has 253 characters at most (RFC 1035). */
const INCOMING_URI = /^tcp:(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253}):([1-9][0-9]{0,4})$/;
const LAST_PORT = 65_535;

/** Whether a source's VMM can be told to connect there. */
export function isIncomingUri(uri: string): boolean {
  return INCOMING_URI.test(uri);
}

/** The URI itself, then the same address with the `others` ports above its own. */
export function laterUris(uri: string, others: number): readonly string[] {
  const [, host, portText] = INCOMING_URI.exec(uri) ?? [];
  const port = Number(portText);
  if (host === undefined) return [];
  return Array.from({ length: others + 1 }, (_, step) => port + step)
    .filter((candidate) => candidate <= LAST_PORT)
    .map((candidate) => `tcp:${host}:${candidate}`);
}
