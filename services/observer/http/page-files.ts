import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";

export interface PageFile {
  readonly contentType: string;
  readonly body: Buffer;
  readonly etag: string;
}

const FOLDER = join(import.meta.dirname, "..", "page");
const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** The page's files by name, read once: no request names a path of this machine. */
export function readPageFiles(): ReadonlyMap<string, PageFile> {
  const files = readdirSync(FOLDER).flatMap((name) => {
    const contentType = CONTENT_TYPES[extname(name)];
    if (contentType === undefined) return [];
    const body = readFileSync(join(FOLDER, name));
    const etag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
    return [[name, { contentType, body, etag }] as const];
  });
  return new Map(files);
}
