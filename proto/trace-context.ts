import { createHash } from "node:crypto";

/** The trace that a migration is in, as everything that is said about it carries it (W3C Trace Context, level 1). */
export interface MigrationTrace {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** Of this trace, with the migration's own span as the parent of whatever comes of it. */
  readonly traceparent: string;
}

const SAMPLED = 1;
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/**
 * The trace of a migration: the caller's where it gave a traceparent that is one, else that of the migration's id. The
 * same for whoever asks, at any time: nothing is looked up and nothing is random.
 *
 *   digest = SHA-256 of the migration's id
 *   trace id = the caller's, else bytes 0 to 15 of the digest; span id = bytes 16 to 23
 *
 * Without a caller's word it is marked as sampled: migrations are few, and whoever traces what a migration causes is to
 * see it.
 */
export function traceOfMigration(migrationId: string, given?: string): MigrationTrace {
  const digest = createHash("sha256").update(migrationId).digest("hex");
  const parsed = parseTraceparent(given);
  const traceId = parsed?.traceId ?? digest.slice(0, 32);
  const flags = parsed?.sampled === "no" ? "00" : "01";
  return { traceId, traceparent: `00-${traceId}-${digest.slice(32, 48)}-${flags}` };
}

/** Null for what is no traceparent: such a one counts as not given. Of later versions what level 1 has is read. */
export function parseTraceparent(
  text: string | undefined,
): { readonly traceId: string; readonly sampled: "yes" | "no" } | null {
  const [, version, traceId = "", parentId = "", flags = "", more] = TRACEPARENT.exec(text ?? "") ?? [];
  if (version === undefined || version === "ff" || (version === "00" && more !== undefined)) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return null;
  return { traceId, sampled: (Number.parseInt(flags, 16) & SAMPLED) === SAMPLED ? "yes" : "no" };
}
