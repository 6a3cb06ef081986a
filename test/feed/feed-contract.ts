import { readFileSync } from "node:fs";
import { createFileRegistry, type DescField, type DescMessage, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";

/** The contract as buf has compiled it, comments included, seen from the compiled file (dist/test/feed). */
const CONTRACT_FILE = new URL("../../proto/contract.binpb", import.meta.url);
const FEED_EVENT = "switchover.v1.FeedEvent";

export type EventCase = NonNullable<FeedEvent["event"]>["$case"];

/** FeedEvent as the .proto files have it. */
export interface FeedContract {
  readonly message: DescMessage;
  /** What every event has. */
  readonly envelope: readonly DescField[];
  /** What it may be: one field for each case. */
  readonly cases: readonly (DescField & { readonly fieldKind: "message" })[];
}

export function readFeedContract(): FeedContract {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(CONTRACT_FILE)));
  const message = registry.getMessage(FEED_EVENT);
  if (message === undefined) throw new Error(`There is no ${FEED_EVENT}.`);
  const isCase = (field: DescField) => field.oneof?.name === "event";
  return {
    message,
    envelope: message.fields.filter((field) => !isCase(field)),
    cases: message.fields.filter(isCase).filter((field) => field.fieldKind === "message"),
  };
}
