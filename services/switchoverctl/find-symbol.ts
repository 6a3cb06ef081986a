import { invalidArgument, type SwitchoverError } from "../../proto/error.ts";
import type { Enum, Message, Method, ServiceContract } from "./service-contract.ts";

/** What a contract calls something by. */
export type ContractSymbol =
  | { readonly t: "service"; readonly name: string; readonly methods: readonly Method[] }
  | { readonly t: "method"; readonly name: string; readonly method: Method }
  | { readonly t: "message"; readonly name: string; readonly message: Message }
  | { readonly t: "enum"; readonly name: string; readonly of: Enum };

/**
 * The method of that name, full ("switchover.v1.MigrationService/GetMigration") or as much of its end as no other one has;
 * INVALID_ARGUMENT / UNKNOWN_NAME or AMBIGUOUS_NAME on `METHOD`.
 */
export function findMethod(contract: ServiceContract, text: string): Method {
  return theOne(methodSymbols(contract), text, "METHOD").method;
}

/** As `findMethod`, of whatever has a name; on `NAME`. */
export function findSymbol(contract: ServiceContract, text: string): ContractSymbol {
  const symbols: ContractSymbol[] = [
    ...[...contract.services].map(([name, methods]) => ({ t: "service" as const, name, methods })),
    ...methodSymbols(contract),
    ...[...contract.messages].map(([name, message]) => ({ t: "message" as const, name, message })),
    ...[...contract.enums].map(([name, of]) => ({ t: "enum" as const, name, of })),
  ];
  return theOne(symbols, text, "NAME");
}

function methodSymbols({ services }: ServiceContract) {
  return [...services.values()].flat().map((method) => {
    return { t: "method" as const, name: `${method.service}/${method.name}`, method };
  });
}

function theOne<T extends { readonly name: string }>(symbols: readonly T[], text: string, field: string): T {
  const wanted = dotted(text);
  const whole = symbols.filter(({ name }) => dotted(name) === wanted);
  const ending = symbols.filter(({ name }) => dotted(name).endsWith(`.${wanted}`));
  const found = whole.length > 0 ? whole : ending;
  const [first, second] = found;
  if (first === undefined) throw unknownName(symbols, text, field);
  if (second === undefined) return first;
  const names = found.map(({ name }) => name).join(", ");
  throw invalidArgument(field, `${field}: "${text}" may be any of ${names}.`, "AMBIGUOUS_NAME");
}

function unknownName(
  symbols: readonly { readonly name: string }[],
  text: string,
  field: string,
): SwitchoverError {
  const last = dotted(text).split(".").at(-1)?.toLowerCase() ?? "";
  const alike = symbols.map(({ name }) => name).filter((name) => name.toLowerCase().includes(last));
  const hint =
    alike.length === 0 || last === ""
      ? "see switchoverctl describe"
      : `alike are ${alike.slice(0, 5).join(", ")}`;
  return invalidArgument(field, `${field}: "${text}" is not known to this server; ${hint}.`, "UNKNOWN_NAME");
}

function dotted(name: string): string {
  return name.replace(/^[./]+/, "").replaceAll("/", ".");
}
