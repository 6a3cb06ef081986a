import { Ajv, type ValidateFunction } from "ajv";

/** What the tests read of an AsyncAPI document. */
export interface FeedDocument {
  readonly channels: Readonly<
    Record<string, { readonly address: string; readonly messages: Readonly<Record<string, unknown>> }>
  >;
  readonly operations: Readonly<Record<string, { readonly channel: { readonly $ref: string } }>>;
  readonly components: {
    readonly messages: Readonly<Record<string, { readonly summary: string }>>;
    readonly schemas: Readonly<Record<string, unknown>>;
  };
}

/** Judges the payloads, or the headers, of a message by the document. */
export function messageValidator(
  document: FeedDocument,
  message: string,
  part: "headers" | "payload",
): ValidateFunction {
  const ajv = new Ajv({ strict: false, validateFormats: false });
  ajv.addSchema(document, "feed");
  return ajv.compile({ $ref: `feed#/components/messages/${message}/${part}` });
}
