import { invalidArgument } from "../../proto/error.ts";
import { scalarFromJson } from "./scalar-json.ts";
import type { Field, FieldType, Message, ServiceContract } from "./service-contract.ts";

/**
 * The request that a JSON text means, in the form that proto-loader sends: proto3 JSON, fields by either name. What it would
 * leave out in silence is INVALID_ARGUMENT with the field's path: unknown fields and enum names, values of another type or
 * out of range, two fields of one oneof. An empty text is a request without fields. Pure.
 */
export function requestFromJson(text: string, messageName: string, contract: ServiceContract): object {
  return messageFromJson(parsed(text), messageOf(messageName, contract), "", contract);
}

function parsed(text: string): unknown {
  if (text.trim() === "") return {};
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw invalidArgument("JSON", `JSON: ${thrown instanceof Error ? thrown.message : String(thrown)}.`);
  }
}

function messageOf(name: string, { messages }: ServiceContract): Message {
  return messages.get(name) ?? { name, fields: [] };
}

function messageFromJson(value: unknown, message: Message, path: string, contract: ServiceContract): object {
  const request: Record<string, unknown> = {};
  const oneofs = new Map<string, string>();
  for (const [key, member] of Object.entries(objectAt(value, path))) {
    const field = message.fields.find(({ name, jsonName }) => key === name || key === jsonName);
    const at = join(path, field?.name ?? key);
    if (field === undefined) throw invalidArgument(at, unknownField(at, message), "UNKNOWN_FIELD");
    // In proto3 JSON null is as good as not given.
    if (member === null) continue;
    if (Object.hasOwn(request, field.name)) {
      throw invalidArgument(at, `${at} is given by both of its names.`, "DUPLICATE");
    }
    const other = field.oneof === null ? undefined : oneofs.get(field.oneof);
    if (other !== undefined)
      throw invalidArgument(at, `${at} and ${join(path, other)} exclude each other.`, "MISMATCH");
    if (field.oneof !== null) oneofs.set(field.oneof, field.name);
    request[field.name] = fieldFromJson(member, field, at, contract);
  }
  return request;
}

function fieldFromJson(value: unknown, field: Field, at: string, contract: ServiceContract): unknown {
  switch (field.shape) {
    case "one":
      return valueFromJson(value, field.type, at, contract);
    case "many":
      if (!Array.isArray(value)) throw invalidArgument(at, `${at} is a list: it goes in [].`);
      return value.map((item, index) => valueFromJson(item, field.type, `${at}[${index}]`, contract));
    case "map":
      // To proto-loader a map of a reflected message is what it is on the wire: a list of entries.
      return Object.entries(objectAt(value, at)).map(([key, item]) => ({
        key: keyFromJson(key, field, at),
        value: valueFromJson(item, field.type, `${at}.${key}`, contract),
      }));
  }
}

function keyFromJson(key: string, { keyType }: Field, at: string): unknown {
  const name = keyType?.name ?? "string";
  if (name !== "bool") return scalarFromJson(key, name, at);
  if (key === "true" || key === "false") return key === "true";
  throw invalidArgument(at, `${at}: "${key}" is neither true nor false.`);
}

function valueFromJson(value: unknown, type: FieldType, at: string, contract: ServiceContract): unknown {
  switch (type.t) {
    case "message":
      return messageFromJson(value, messageOf(type.name, contract), at, contract);
    case "enum":
      return enumFromJson(value, type.name, at, contract);
    case "scalar":
      return scalarFromJson(value, type.name, at);
  }
}

function enumFromJson(value: unknown, name: string, at: string, { enums }: ServiceContract): number {
  // A number may be one that only the server knows.
  if (typeof value === "number") return Number(scalarFromJson(value, "int32", at));
  const values = enums.get(name)?.values ?? [];
  const found = values.find((candidate) => candidate.name === value);
  if (found !== undefined) return found.number;
  const known = values.map((candidate) => candidate.name).join(", ");
  throw invalidArgument(at, `${at}: ${JSON.stringify(value)} is none of ${known}.`, "UNKNOWN_VALUE");
}

function objectAt(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Readonly<Record<string, unknown>>;
  }
  const at = path === "" ? "JSON" : path;
  throw invalidArgument(at, `${at} is an object: it goes in {}.`);
}

function unknownField(at: string, { name, fields }: Message): string {
  const known = fields.map((field) => field.name).join(", ");
  return `${at} is no field of ${name}, which has ${known === "" ? "none" : known}.`;
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
