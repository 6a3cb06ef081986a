import { join } from "node:path";
import { stringify } from "yaml";
import { repositoryRoot } from "../lab/repository-root.ts";
import { feedDocument } from "./feed-document.ts";

export const FEED_DOCUMENT_FILE = join(repositoryRoot(), "docs/feed.asyncapi.yaml");
const LINE_WIDTH = 110;

/** What the file is to hold. */
export function feedDocumentText(): string {
  return stringify(feedDocument(), { lineWidth: LINE_WIDTH, aliasDuplicateObjects: false });
}
