import { ROLES, type Role } from "./roles.ts";

/** Whom a certificate speaks for: its one URI, `spiffe://TRUST-DOMAIN/ROLE/NAME`. */
export interface Identity {
  readonly trustDomain: string;
  readonly role: Role;
  /** Of an agent, its host's id. */
  readonly name: string;
}

const URI_PREFIX = "URI:";
const IDENTITY =
  /^spiffe:\/\/([a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?)\/([a-z-]{1,32})\/([A-Za-z0-9_][A-Za-z0-9_-]{0,62})$/;

/**
 * Reads a certificate's subject alternative names as Node writes them ("URI:spiffe://cloud/agent/ha, DNS:ha").
 * Undefined where they have no URI or several, or one that is no identity here. Names that Node had to quote, so that
 * one could look like several, are no certificate of ours either.
 */
export function identityIn(subjectAltNames: string | undefined): Identity | undefined {
  if (subjectAltNames === undefined || subjectAltNames.includes('"')) return undefined;
  const uris = subjectAltNames.split(", ").filter((name) => name.startsWith(URI_PREFIX));
  const [uri] = uris;
  if (uri === undefined || uris.length > 1) return undefined;
  const [, trustDomain, roleText, name] = IDENTITY.exec(uri.slice(URI_PREFIX.length)) ?? [];
  const role = ROLES.find((known) => known === roleText);
  if (trustDomain === undefined || role === undefined || name === undefined) return undefined;
  return { trustDomain, role, name };
}

export function uriOf({ trustDomain, role, name }: Identity): string {
  return `spiffe://${trustDomain}/${role}/${name}`;
}
