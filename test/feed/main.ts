/** Writes docs/feed.asyncapi.yaml anew, after the contract or its subjects were changed. */
import { writeFileSync } from "node:fs";
import { FEED_DOCUMENT_FILE, feedDocumentText } from "./feed-document-file.ts";

writeFileSync(FEED_DOCUMENT_FILE, feedDocumentText());
