import { createHash } from "node:crypto";
import { invalidArgument, SwitchoverError } from "../../proto/error.ts";

/** Forms of tokens that were given out by other versions are refused, not guessed. */
const FORM = 1;

/**
 * A page's end, for the caller to bring back: the key of the last item that was looked at, and what was asked for. It
 * holds no secret and needs no memory of a coordinator's.
 */
export function encodePageToken(after: string, filter: Uint8Array): string {
  return Buffer.from(JSON.stringify([FORM, after, digestOf(filter)])).toString("base64url");
}

/**
 * The key that the page goes on after; null for the first page. INVALID_ARGUMENT on page_token for what
 * encodePageToken did not make (MALFORMED), or made for another filter (TOKEN_OF_OTHER_FILTER).
 */
export function decodePageToken<Key>(
  token: string,
  filter: Uint8Array,
  parseKey: (text: string) => Key,
): Key | null {
  if (token === "") return null;
  const parts = partsOf(token);
  if (parts === null) throw malformed();
  if (parts.digest !== digestOf(filter)) {
    throw invalidArgument(
      "page_token",
      "The page token was given out for another filter.",
      "TOKEN_OF_OTHER_FILTER",
    );
  }
  try {
    return parseKey(parts.after);
  } catch (thrown) {
    if (SwitchoverError.from(thrown).code === "INVALID_ARGUMENT") throw malformed();
    throw thrown;
  }
}

function partsOf(token: string): { readonly after: string; readonly digest: string } | null {
  try {
    const parts: unknown = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
    if (!Array.isArray(parts) || parts.length !== 3 || parts[0] !== FORM) return null;
    const [, after, digest] = parts as readonly unknown[];
    return typeof after === "string" && typeof digest === "string" ? { after, digest } : null;
  } catch {
    return null;
  }
}

function malformed(): SwitchoverError {
  return invalidArgument("page_token", "The page token is none that was given out.");
}

function digestOf(filter: Uint8Array): string {
  return createHash("sha256").update(filter).digest("base64url").slice(0, 16);
}
