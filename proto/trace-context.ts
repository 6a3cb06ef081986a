import { createHash } from "node:crypto";

/** The trace that a migration is in, as everything that is said about it carries it (W3C Trace Context, level 1). */
export interface MigrationTrace {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** Of this trace, with the migration's own span as the parent of whatever comes of it. */
  readonly traceparent: string;
  /** The caller's, unchanged: of a system that is not ours; absent where none was given that is one. */
  readonly tracestate?: string | undefined;
}

/** What a caller says of the trace that it is in. */
export interface GivenTrace {
  readonly traceparent: string;
  readonly tracestate?: string | undefined;
}

/** As records and events have it. */
type MaybeTrace = { readonly [Word in keyof GivenTrace]?: string | undefined };

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
export function traceOfMigration(migrationId: string, given: MaybeTrace = {}): MigrationTrace {
  const digest = createHash("sha256").update(migrationId).digest("hex");
  const parsed = parseTraceparent(given.traceparent);
  const tracestate = parsed === null ? null : parseTracestate(given.tracestate);
  const traceId = parsed?.traceId ?? digest.slice(0, 32);
  const flags = parsed?.sampled === "no" ? "00" : "01";
  return {
    traceId,
    traceparent: `00-${traceId}-${digest.slice(32, 48)}-${flags}`,
    ...(tracestate === null ? {} : { tracestate }),
  };
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

const STATE_LENGTH_AT_MOST = 512;
const STATE_MEMBERS_AT_MOST = 32;
const STATE_MEMBER =
  /^([a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;

/**
 * The text, as it is; null for what is no tracestate (W3C Trace Context, 3.3.1) of at most 32 members and 512 characters,
 * and for one without a member. Whoever takes it on drops all of it or nothing: half of it may mean something else.
 */
export function parseTracestate(text: string | undefined): string | null {
  if (text === undefined || text.length > STATE_LENGTH_AT_MOST) return null;
  const members = text
    .split(",")
    .map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ""))
    .filter((member) => member !== "");
  if (members.length === 0 || members.length > STATE_MEMBERS_AT_MOST) return null;
  const keys = members.map((member) => STATE_MEMBER.exec(member)?.[1]);
  return keys.includes(undefined) || new Set(keys).size < keys.length ? null : text;
}

/** Both words where they are what they should be: without a traceparent a tracestate says nothing. */
export function parseTrace(traceparent: string | undefined, tracestate?: string): GivenTrace | undefined {
  if (traceparent === undefined || parseTraceparent(traceparent) === null) return undefined;
  const state = parseTracestate(tracestate);
  return { traceparent, ...(state === null ? {} : { tracestate: state }) };
}
