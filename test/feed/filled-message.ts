import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

type Json = string | number | boolean | { readonly [name: string]: Json } | readonly Json[];

/** The message as proto3 JSON with every field in it, none of which has its default value. */
export function filledMessage(message: DescMessage, fields: readonly DescField[] = message.fields): Json {
  return Object.fromEntries(fields.map((field) => [field.jsonName, filledField(field)]));
}

function filledField(field: DescField): Json {
  switch (field.fieldKind) {
    case "list":
      return [filledElement(field)];
    case "map":
      return { key: filledElement(field) };
    default:
      return filledElement(field);
  }
}

function filledElement({ scalar, message, enum: ofEnum, name }: DescField): Json {
  if (message !== undefined) return filledMessage(message);
  if (ofEnum !== undefined) return ofEnum.values.at(-1)?.name ?? "";
  switch (scalar) {
    case ScalarType.STRING:
      return `a ${name}`;
    case ScalarType.BOOL:
      return true;
    case ScalarType.UINT32:
      return 2 ** 32 - 1;
    case ScalarType.UINT64:
      return String(2n ** 64n - 1n);
    default:
      return String(-(2n ** 63n));
  }
}
