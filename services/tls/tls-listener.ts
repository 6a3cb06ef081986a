import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import type { Log } from "../log/log.ts";
import type { Certificates } from "./certificates.ts";
import { SeldomTold } from "./seldom-told.ts";

/** A connection that says nothing is ended after this. */
const HANDSHAKE_TIMEOUT_MS = 5_000;

export interface TlsListenerOptions {
  readonly certificates: Certificates;
  readonly log: Log;
  /** Takes a connection whose peer has shown a certificate of an authority of ours. */
  readonly accept: (socket: TLSSocket) => void;
  /** Counts connections that were refused, by reason. */
  readonly refused: (reason: string) => void;
}

export interface TlsListener {
  /** Of what listens on a port. */
  readonly port: number | undefined;
  /** Takes no more connections; those that were accepted go on. Idempotent. */
  close(): void;
}

/**
 * Listens with TLS 1.3 and lets nobody in without a certificate of an authority of ours: a refused peer gets a TLS alert
 * and no byte of HTTP/2. New certificates count for the connections that come after them. Throws as `net.Server.listen`.
 */
export async function listenWithTls(
  at: { readonly host: string; readonly port: number } | { readonly path: string },
  { certificates, log, accept, refused }: TlsListenerOptions,
): Promise<TlsListener> {
  const server = createServer({
    ...certificates.current.contextOptions,
    requestCert: true,
    rejectUnauthorized: true,
    ALPNProtocols: ["h2"],
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    noDelay: true,
  });
  const told = new SeldomTold();
  // Where a refused connection came from is not told any more once TLS has ended it.
  const peers = new WeakMap<object, string>();
  server.on("connection", (socket) => peers.set(socket, socket.remoteAddress ?? "unix"));
  const refuse = (socket: TLSSocket, error: NodeJS.ErrnoException): void => {
    // Node leaves one open that has not said anything in time. An alert that TLS has for the peer goes out first.
    setImmediate(() => socket.destroy());
    const reason = refusalOf(socket, error);
    refused(reason);
    const carrier: unknown = Reflect.get(socket, "_parent");
    const peer = peers.get(carrier as object) ?? socket.remoteAddress ?? "unknown";
    const times = told.count(`${peer} ${reason}`);
    if (times === undefined) return;
    const fields = { audit: "connection-refused", reason, grpc_peer: peer, times, cause: error.code };
    const level = reason === "PEER_LEFT" ? "debug" : "warn";
    log[level](fields, `A connection was refused: ${reason}.`);
  };
  server.on("tlsClientError", (error, socket) => refuse(socket, error));
  server.on("secureConnection", (socket) => {
    // What goes wrong later ends the HTTP/2 session, which says so.
    socket.on("error", () => {});
    if (socket.alpnProtocol === "h2") return accept(socket);
    refuse(socket, Object.assign(new Error("no HTTP/2 was asked for"), { code: "ERR_NO_ALPN" }));
  });
  certificates.onChange(({ contextOptions }) => server.setSecureContext(contextOptions));
  server.listen(at);
  await once(server, "listening");
  server.on("error", (error) => log.error({ err: error }, "A TLS listener failed."));
  const address = server.address() as AddressInfo | string | null;
  return {
    port: typeof address === "object" ? address?.port : undefined,
    close: () => void server.close(),
  };
}

const REASONS: Readonly<Record<string, string>> = {
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: "NO_CERTIFICATE",
  ERR_TLS_HANDSHAKE_TIMEOUT: "HANDSHAKE_TIMEOUT",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "TLS_TOO_OLD",
  ERR_SSL_WRONG_VERSION_NUMBER: "NOT_TLS",
  ERR_SSL_HTTP_REQUEST: "NOT_TLS",
  ERR_NO_ALPN: "NOT_GRPC",
  CERT_HAS_EXPIRED: "CERTIFICATE_EXPIRED",
  CERT_NOT_YET_VALID: "CERTIFICATE_EXPIRED",
};

/** In our words; those of OpenSSL are its own to change. */
function refusalOf(socket: TLSSocket, error: NodeJS.ErrnoException): string {
  // A string, whatever its type says.
  const unauthorized = socket.authorizationError as unknown as string | undefined;
  if (typeof unauthorized === "string") return REASONS[unauthorized] ?? "CERTIFICATE_NOT_TRUSTED";
  return REASONS[error.code ?? ""] ?? (error.code === "ECONNRESET" ? "PEER_LEFT" : "HANDSHAKE_FAILED");
}
