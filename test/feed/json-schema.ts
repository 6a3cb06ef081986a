import { type DescEnum, type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { commentOf } from "./comments.ts";

export type JsonSchema = Readonly<Record<string, unknown>>;

export const schemaRef = (name: string): JsonSchema => ({ $ref: `#/components/schemas/${name}` });

/**
 * The schema of a message as proto3 JSON, as Switchover writes it: fields that have their default value are absent, 64-bit
 * numbers are strings, enums are names. More members than these are no fault: later versions add some.
 */
export function messageSchema(
  message: DescMessage,
  fields: readonly DescField[] = message.fields,
): JsonSchema {
  return {
    type: "object",
    ...described(commentOf(message)),
    properties: Object.fromEntries(fields.map((field) => [field.jsonName, fieldSchema(field)])),
  };
}

/** The schemas of all messages and enums that those fields hold, by their names. */
export function schemasBelow(fields: readonly DescField[]): ReadonlyMap<string, JsonSchema> {
  const schemas = new Map<string, JsonSchema>();
  const add = (field: DescField): void => {
    const { enum: ofEnum, message } = field;
    if (ofEnum !== undefined) schemas.set(ofEnum.name, enumSchema(ofEnum));
    if (message === undefined || schemas.has(message.name)) return;
    schemas.set(message.name, messageSchema(message));
    message.fields.forEach(add);
  };
  fields.forEach(add);
  return schemas;
}

function fieldSchema(field: DescField): JsonSchema {
  const description = described(commentOf(field));
  switch (field.fieldKind) {
    case "list":
      return { type: "array", ...description, items: elementSchema(field) };
    case "map":
      return { type: "object", ...description, additionalProperties: elementSchema(field) };
    case "scalar":
      return { ...elementSchema(field), ...description };
    case "enum":
    case "message":
      // Beside a reference nothing else counts.
      return "description" in description
        ? { ...description, allOf: [elementSchema(field)] }
        : elementSchema(field);
  }
}

function elementSchema(field: DescField): JsonSchema {
  const { scalar, message, enum: ofEnum } = field;
  if (message !== undefined) return schemaRef(message.name);
  if (ofEnum !== undefined) return schemaRef(ofEnum.name);
  switch (scalar) {
    case ScalarType.STRING:
      return { type: "string" };
    case ScalarType.BOOL:
      return { type: "boolean" };
    case ScalarType.UINT32:
      return { type: "integer", minimum: 0, maximum: 2 ** 32 - 1 };
    case ScalarType.UINT64:
      return { type: "string", pattern: "^[0-9]+$" };
    case ScalarType.INT64:
      return { type: "string", pattern: "^-?[0-9]+$" };
    default:
      throw new Error(`It is not said yet how ${field.toString()} is written as JSON.`);
  }
}

function enumSchema(ofEnum: DescEnum): JsonSchema {
  const lines = ofEnum.values.map((value) => [value.name, commentOf(value)] as const);
  const said = lines
    .filter(([, comment]) => comment !== "")
    .map(([name, comment]) => `- ${name}: ${comment}`);
  const description = [commentOf(ofEnum), ...said].filter((line) => line !== "").join("\n");
  return { type: "string", ...described(description), enum: ofEnum.values.map(({ name }) => name) };
}

function described(comment: string): { readonly description?: string } {
  return comment === "" ? {} : { description: comment };
}
