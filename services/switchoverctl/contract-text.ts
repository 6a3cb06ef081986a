import type { ContractSymbol } from "./find-symbol.ts";
import type { Field, Message, Method } from "./service-contract.ts";

/** A part of a contract as a .proto file has it, types by their full names. Pure. */
export function symbolText(symbol: ContractSymbol): string {
  switch (symbol.t) {
    case "service":
      return block(`service ${symbol.name}`, symbol.methods.map(methodText));
    case "method":
      return `// ${symbol.name}\n${methodText(symbol.method)}`;
    case "message":
      return block(`message ${symbol.name}`, fieldLines(symbol.message));
    case "enum":
      return block(
        `enum ${symbol.name}`,
        symbol.of.values.map(({ name, number }) => `${name} = ${number};`),
      );
  }
}

/** The same for scripts. Pure. */
export function symbolJson(symbol: ContractSymbol): object {
  switch (symbol.t) {
    case "service":
      return { service: symbol.name, methods: symbol.methods.map(methodJson) };
    case "method":
      return { method: symbol.name, ...methodJson(symbol.method) };
    case "message":
      return { message: symbol.name, fields: symbol.message.fields.map(fieldJson) };
    case "enum":
      return { enum: symbol.name, values: symbol.of.values.map(({ name, number }) => ({ name, number })) };
  }
}

function methodText({ name, request, response, asks, answers }: Method): string {
  const [from, to] = [asks, answers].map((shape) => (shape === "stream" ? "stream " : ""));
  return `rpc ${name}(${from}${request}) returns (${to}${response});`;
}

function methodJson({ name, request, response, asks, answers }: Method): object {
  return { name, request, requestStream: asks === "stream", response, responseStream: answers === "stream" };
}

/** Those of a oneof stand together, where its first one is. */
function fieldLines({ fields }: Message): readonly string[] {
  const inOneof = (oneof: string) => fields.filter((field) => field.oneof === oneof);
  return fields.flatMap((field) => {
    const { oneof } = field;
    if (oneof === null) return [fieldText(field)];
    if (isOptional(field)) return [`optional ${fieldText(field)}`];
    const members = inOneof(oneof);
    if (members[0] !== field) return [];
    return [`oneof ${oneof} {`, ...members.map((member) => `  ${fieldText(member)}`), "}"];
  });
}

/** protoc makes a oneof of its own of each `optional` field. */
function isOptional({ name, oneof }: Field): boolean {
  return oneof === `_${name}`;
}

function fieldText({ name, number, shape, type, keyType }: Field): string {
  const types = { one: type.name, many: `repeated ${type.name}`, map: `map<${keyType?.name}, ${type.name}>` };
  return `${types[shape]} ${name} = ${number};`;
}

function fieldJson(field: Field): object {
  const { name, jsonName, number, shape, type, keyType, oneof } = field;
  return {
    name,
    jsonName,
    number,
    type: type.name,
    ...(shape === "many" ? { repeated: true } : {}),
    ...(keyType === null ? {} : { mapKey: keyType.name }),
    ...(isOptional(field) ? { optional: true } : oneof === null ? {} : { oneof }),
  };
}

function block(head: string, lines: readonly string[]): string {
  return lines.length === 0
    ? `${head} {}`
    : [`${head} {`, ...lines.map((line) => `  ${line}`), "}"].join("\n");
}
