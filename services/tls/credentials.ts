import { constants, createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { type Identity, identityIn } from "./identity.ts";

/** A program's certificate, its key and the authorities that it believes, seen to fit together. */
export interface Credentials {
  readonly identity: Identity;
  readonly notBeforeUnixMs: number;
  readonly notAfterUnixMs: number;
  /** For servers: TLS 1.3 at least, and no session that outlives what it was opened with. */
  readonly contextOptions: SecureContextOptions;
  /** The same for clients. */
  readonly context: SecureContext;
}

/** PEM, as the files have it. */
export interface CredentialTexts {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** What is wrong, and with which of the three. */
export interface CredentialFault {
  readonly part: keyof CredentialTexts;
  readonly sentence: string;
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const CHAIN_LIMIT = 8;

/** The credentials, or the first thing that a peer would refuse them for at `nowUnixMs`. */
export function readCredentials(
  texts: CredentialTexts,
  nowUnixMs: number,
): Credentials | { readonly fault: CredentialFault } {
  const chain = certificatesIn(texts.cert);
  const authorities = certificatesIn(texts.ca);
  const [leaf] = chain ?? [];
  if (chain === undefined || leaf === undefined) return faultOf("cert", "has no certificate in PEM.");
  if (authorities === undefined || authorities.length === 0)
    return faultOf("ca", "has no certificate in PEM.");
  if (authorities.some((authority) => !authority.ca)) return faultOf("ca", "has one that is no authority's.");
  const keyFault = faultOfKey(texts.key, leaf);
  if (keyFault !== undefined) return faultOf("key", keyFault);
  const identity = identityIn(leaf.subjectAltName);
  if (identity === undefined) {
    return faultOf("cert", "names nobody: one URI like spiffe://cloud.example/agent/ha is to be in it.");
  }
  const [notBeforeUnixMs, notAfterUnixMs] = [Date.parse(leaf.validFrom), Date.parse(leaf.validTo)];
  if (nowUnixMs < notBeforeUnixMs) return faultOf("cert", `is valid from ${leaf.validFrom} on.`);
  if (nowUnixMs > notAfterUnixMs) return faultOf("cert", `has ended on ${leaf.validTo}.`);
  const uses = leaf.keyUsage as readonly string[] | undefined;
  if (uses !== undefined && !(uses.includes(SERVER_AUTH) && uses.includes(CLIENT_AUTH))) {
    return faultOf("cert", "is not for servers and clients alike (extended key usage).");
  }
  if (!leadsTo(chain, authorities))
    return faultOf("cert", "was issued by none of the authorities in the CA file.");
  const contextOptions: SecureContextOptions = {
    ...texts,
    minVersion: "TLSv1.3",
    // With a ticket a peer would come back that the authorities of today do not know.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
  try {
    const context = createSecureContext(contextOptions);
    return { identity, notBeforeUnixMs, notAfterUnixMs, contextOptions, context };
  } catch (thrown) {
    return faultOf("cert", `cannot be used: ${thrown instanceof Error ? thrown.message : String(thrown)}.`);
  }
}

function faultOf(part: CredentialFault["part"], sentence: string): { readonly fault: CredentialFault } {
  return { fault: { part, sentence } };
}

/** Undefined where one of them cannot be read. */
function certificatesIn(text: string): readonly X509Certificate[] | undefined {
  try {
    return (text.match(CERTIFICATE) ?? []).map((pem) => new X509Certificate(pem));
  } catch {
    return undefined;
  }
}

function faultOfKey(text: string, leaf: X509Certificate): string | undefined {
  try {
    return leaf.checkPrivateKey(createPrivateKey(text)) ? undefined : "is not the certificate's.";
  } catch {
    return "has no private key in PEM that can be read without a password.";
  }
}

function leadsTo(chain: readonly X509Certificate[], authorities: readonly X509Certificate[]): boolean {
  const [leaf, ...between] = chain;
  let last = leaf;
  for (let length = 0; last !== undefined && length < CHAIN_LIMIT; length += 1) {
    const issued: X509Certificate = last;
    const isIssuer = (issuer: X509Certificate): boolean =>
      issued.checkIssued(issuer) && issued.verify(issuer.publicKey);
    if (authorities.some(isIssuer)) return true;
    last = between.find((candidate) => candidate !== issued && candidate.ca && isIssuer(candidate));
  }
  return false;
}
