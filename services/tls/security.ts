import { ChannelCredentials, credentials } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import type { Certificates } from "./certificates.ts";
import { identityIn, uriOf } from "./identity.ts";
import { isLoopback } from "./loopback.ts";
import type { Role } from "./roles.ts";

/**
 * How a program's gRPC connections are secured, in and out: by certificates on both sides (TLS 1.3), or, where it was told
 * so, not at all, and then with nobody but this host.
 */
export type Security =
  | { readonly t: "plaintext" }
  | { readonly t: "tls"; readonly certificates: Certificates };

/** For what was told `--insecure-loopback`. */
export const PLAINTEXT: Security = { t: "plaintext" };

/** Whom a channel may reach: any of these roles, or the one of that name, as a host's agent. */
export interface ExpectedPeer {
  readonly roles: readonly Role[];
  readonly name?: string;
}

/** What a channel to `target` is opened with. Throws FAILED_PRECONDITION / NOT_LOOPBACK. */
export function channelCredentials(
  security: Security,
  target: string,
  peer: ExpectedPeer,
): ChannelCredentials {
  if (security.t === "tls") return new PresentCredentials(security.certificates, peer);
  if (isLoopback(target)) return credentials.createInsecure();
  const sentence = `${target} is not on this host, and nothing but that is spoken to without TLS.`;
  throw new SwitchoverError("FAILED_PRECONDITION", sentence, {
    reason: "NOT_LOOPBACK",
    metadata: { target },
  });
}

type Connector = ReturnType<ChannelCredentials["_createSecureConnector"]>;

/** Each connection is made with the certificate and the authorities of its moment. */
class PresentCredentials extends ChannelCredentials {
  readonly #certificates: Certificates;
  readonly #peer: ExpectedPeer;

  constructor(certificates: Certificates, peer: ExpectedPeer) {
    super();
    this.#certificates = certificates;
    this.#peer = peer;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(
    ...[target, options, callCredentials]: Parameters<ChannelCredentials["_createSecureConnector"]>
  ): Connector {
    const { trustDomain } = this.#certificates.current.identity;
    const checkServerIdentity = (_: string, { subjectaltname }: { readonly subjectaltname?: string }) =>
      mistakenFor(this.#peer, trustDomain, subjectaltname);
    // The name that TLS sends ahead in clear: no peer is told from another by it, and an address is none.
    const named = { ...options, "grpc.ssl_target_name_override": trustDomain };
    const present = (): Connector =>
      ChannelCredentials.createFromSecureContext(this.#certificates.current.context, {
        checkServerIdentity,
      })._createSecureConnector(target, named, callCredentials);
    return { ...boundTo(present()), connect: (socket) => inTime(present().connect(socket)) };
  }
}

/** Of a peer that takes the connection and then says nothing; HTTP/2's own pings come only after this. */
const HANDSHAKE_TIMEOUT_MS = 5_000;

/** gRPC ends the connection of a handshake that is rejected, and tries again by its backoff. */
async function inTime<T>(handshake: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no TLS handshake within ${HANDSHAKE_TIMEOUT_MS} ms`)),
      HANDSHAKE_TIMEOUT_MS,
    );
  });
  try {
    return await Promise.race([handshake, late]);
  } finally {
    clearTimeout(timer);
  }
}

function boundTo(connector: Connector): Omit<Connector, "connect"> {
  return {
    waitForReady: () => connector.waitForReady(),
    getCallCredentials: () => connector.getCallCredentials(),
    destroy: () => connector.destroy(),
  };
}

/** An error where the certificate, which an authority of ours has issued, is not the expected peer's. */
export function mistakenFor(
  { roles, name }: ExpectedPeer,
  trustDomain: string,
  subjectAltNames: string | undefined,
): Error | undefined {
  const identity = identityIn(subjectAltNames);
  const isExpected =
    identity !== undefined &&
    identity.trustDomain === trustDomain &&
    roles.includes(identity.role) &&
    (name === undefined || identity.name === name);
  if (isExpected) return undefined;
  const wanted = roles.map((role) => `spiffe://${trustDomain}/${role}/${name ?? "*"}`).join(" or ");
  const is = identity === undefined ? "nobody" : uriOf(identity);
  return new Error(`the certificate of the called side is that of ${is}, not of ${wanted}`);
}
