import type { Field, FieldType, ServiceContract } from "./service-contract.ts";

/** An answer that proto-loader has read, as proto3 JSON: fields by their JSON names, maps as objects. Pure. */
export function jsonFromAnswer(answer: unknown, messageName: string, contract: ServiceContract): object {
  const values = answer as Readonly<Record<string, unknown>>;
  const fields = contract.messages.get(messageName)?.fields ?? [];
  return Object.fromEntries(
    fields
      .filter(({ name }) => Object.hasOwn(values, name))
      .map((field) => [field.jsonName, jsonOfField(values[field.name], field, contract)]),
  );
}

function jsonOfField(value: unknown, { shape, type }: Field, contract: ServiceContract): unknown {
  switch (shape) {
    case "one":
      return jsonOfValue(value, type, contract);
    case "many":
      return (value as readonly unknown[]).map((item) => jsonOfValue(item, type, contract));
    case "map": {
      const entries = value as readonly { readonly key?: unknown; readonly value?: unknown }[];
      return Object.fromEntries(
        // An entry leaves out what is empty or zero.
        entries.map((entry) => [
          String(entry.key ?? ""),
          jsonOfValue(entry.value ?? emptyOf(type, contract), type, contract),
        ]),
      );
    }
  }
}

function jsonOfValue(value: unknown, type: FieldType, contract: ServiceContract): unknown {
  return type.t === "message" ? jsonFromAnswer(value, type.name, contract) : value;
}

function emptyOf(type: FieldType, { enums }: ServiceContract): unknown {
  if (type.t === "message") return {};
  if (type.t === "enum") return enums.get(type.name)?.values.find(({ number }) => number === 0)?.name;
  if (type.name === "string" || type.name === "bytes") return "";
  if (type.name === "bool") return false;
  return type.name.endsWith("64") ? "0" : 0;
}
