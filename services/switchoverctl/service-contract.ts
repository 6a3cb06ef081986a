import type {
  EnumTypeDefinition,
  MessageTypeDefinition,
  MethodDefinition,
  PackageDefinition,
  ServiceDefinition,
} from "@grpc/proto-loader";
import type { Reflection } from "../grpc/reflection-client.ts";

/** What a field holds: a scalar by its name in .proto files ("uint32"), or a message or an enum by its full name. */
export type FieldType =
  | { readonly t: "scalar"; readonly name: string }
  | { readonly t: "message"; readonly name: string }
  | { readonly t: "enum"; readonly name: string };

export interface Field {
  /** As in .proto files. */
  readonly name: string;
  /** As in JSON. */
  readonly jsonName: string;
  readonly number: number;
  readonly type: FieldType;
  readonly shape: "one" | "many" | "map";
  /** The keys of a map. */
  readonly keyType: FieldType | null;
  /** The oneof that it is in; that of an `optional` field begins with "_". */
  readonly oneof: string | null;
}

export interface Message {
  readonly name: string;
  readonly fields: readonly Field[];
}

export interface Enum {
  readonly name: string;
  readonly values: readonly { readonly name: string; readonly number: number }[];
}

export interface Method {
  readonly service: string;
  readonly name: string;
  readonly request: string;
  readonly response: string;
  readonly answers: "one" | "stream";
  readonly asks: "one" | "stream";
  /** What grpc-js calls it by. */
  readonly definition: MethodDefinition<object, object>;
}

/** What a server serves, as it says itself: every name is a full one. */
export interface ServiceContract {
  readonly services: ReadonlyMap<string, readonly Method[]>;
  readonly messages: ReadonlyMap<string, Message>;
  readonly enums: ReadonlyMap<string, Enum>;
}

/** proto-loader's descriptors, as far as they are used here. */
interface FieldDescriptor {
  readonly name: string;
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
}

interface MessageDescriptor {
  readonly name: string;
  readonly field: readonly FieldDescriptor[];
  readonly nestedType: readonly MessageDescriptor[];
  readonly enumType: readonly EnumDescriptor[];
}

interface EnumDescriptor {
  readonly name: string;
  readonly value: readonly { readonly name: string; readonly number: number }[];
}

interface Found {
  readonly descriptor: MessageDescriptor;
  /** Only of those that are nested in no other message. */
  readonly definition: MessageTypeDefinition<object, object> | null;
}

/** Reads what `readReflection` returned. Pure. */
export function readContract({ services: served, definitions }: Reflection): ServiceContract {
  const messages = new Map<string, Found>();
  const enums = new Map<string, Enum>();
  const addEnum = (scope: string, { name, value }: EnumDescriptor): void => {
    enums.set(`${scope}.${name}`, { name: `${scope}.${name}`, values: value });
  };
  const addMessage = (name: string, { descriptor, definition }: Found): void => {
    messages.set(name, { descriptor, definition });
    for (const nested of descriptor.nestedType) {
      addMessage(`${name}.${nested.name}`, { descriptor: nested, definition: null });
    }
    for (const nested of descriptor.enumType) addEnum(name, nested);
  };
  const services: [string, ServiceDefinition][] = [];
  for (const [name, definition] of Object.entries(definitions)) {
    if (isMessage(definition))
      addMessage(name, { descriptor: definition.type as MessageDescriptor, definition });
    else if (isEnum(definition))
      addEnum(name.slice(0, name.lastIndexOf(".")), definition.type as EnumDescriptor);
    else if (served.includes(name)) services.push([name, definition]);
  }
  const resolve = (name: string, scope: string) =>
    resolved(name, scope, (candidate) => messages.has(candidate) || enums.has(candidate));
  return {
    services: new Map(services.map(([name, service]) => [name, methodsOf(name, service, resolve)])),
    messages: new Map(
      [...messages].map(([name, found]) => [
        name,
        { name, fields: fieldsOf(name, found, messages, resolve) },
      ]),
    ),
    enums,
  };
}

type Resolve = (name: string, scope: string) => string;

function isMessage(
  definition: PackageDefinition[string],
): definition is MessageTypeDefinition<object, object> {
  return definition.format === "Protocol Buffer 3 DescriptorProto";
}

function isEnum(definition: PackageDefinition[string]): definition is EnumTypeDefinition {
  return definition.format === "Protocol Buffer 3 EnumDescriptorProto";
}

/** A name is looked for in its own scope first, then in each one around it, as protoc does. */
function resolved(name: string, scope: string, isKnown: (candidate: string) => boolean): string {
  if (name.startsWith(".")) return name.slice(1);
  for (let around = scope; around !== ""; around = around.slice(0, Math.max(0, around.lastIndexOf(".")))) {
    if (isKnown(`${around}.${name}`)) return `${around}.${name}`;
  }
  return name;
}

function methodsOf(service: string, definition: ServiceDefinition, resolve: Resolve): readonly Method[] {
  return Object.entries(definition).map(([name, method]) => ({
    service,
    name,
    request: resolve((method.requestType.type as MessageDescriptor).name, service),
    response: resolve((method.responseType.type as MessageDescriptor).name, service),
    asks: method.requestStream ? "stream" : "one",
    answers: method.responseStream ? "stream" : "one",
    definition: method,
  }));
}

function fieldsOf(
  message: string,
  { descriptor, definition }: Found,
  messages: ReadonlyMap<string, Found>,
  resolve: Resolve,
): readonly Field[] {
  return descriptor.field.map((field) => {
    const type = typeOf(field, message, resolve);
    const many = field.label === "LABEL_REPEATED";
    const entry = many && type.t === "message" ? entryOf(type.name, messages) : null;
    const [key, value] = entry?.descriptor.field ?? [];
    const isMap = key !== undefined && value !== undefined;
    return {
      name: field.name,
      jsonName: field.name.replaceAll(/_+([a-z0-9]?)/g, (_, letter: string) => letter.toUpperCase()),
      number: field.number,
      type: isMap ? typeOf(value, type.name, resolve) : type,
      shape: isMap ? "map" : many ? "many" : "one",
      keyType: isMap ? typeOf(key, type.name, resolve) : null,
      oneof: many || definition === null ? null : oneofOf(field.name, type, definition),
    };
  });
}

function typeOf({ type, typeName }: FieldDescriptor, scope: string, resolve: Resolve): FieldType {
  if (type === "TYPE_MESSAGE") return { t: "message", name: resolve(typeName, scope) };
  if (type === "TYPE_ENUM") return { t: "enum", name: resolve(typeName, scope) };
  return { t: "scalar", name: type.replace("TYPE_", "").toLowerCase() };
}

/** The message that stands for the entries of a map. */
function entryOf(name: string, messages: ReadonlyMap<string, Found>): Found | null {
  const found = messages.get(name);
  const options = (found?.descriptor as { readonly options?: { readonly mapEntry?: boolean } } | undefined)
    ?.options;
  const names = found?.descriptor.field.map((field) => field.name).join(" ");
  // proto-loader says the same of a message that has a map: that one's fields are others.
  return options?.mapEntry === true && names === "key value" ? (found ?? null) : null;
}

/**
 * proto-loader's descriptors do not tell the first oneof of a message from none, but its messages do: one that has the
 * field alone has the oneof's name, too.
 */
function oneofOf(
  field: string,
  type: FieldType,
  { serialize, deserialize }: MessageTypeDefinition<object, object>,
): string | null {
  const sample = type.t === "message" ? {} : type.t === "enum" ? 0 : SAMPLES[type.name];
  const decoded = Object.entries(deserialize(serialize({ [field]: sample ?? 0 })));
  return decoded.find(([name, value]) => name !== field && value === field)?.[0] ?? null;
}

const SAMPLES: Readonly<Record<string, unknown>> = { string: "", bytes: "", bool: false };
