import type { Client } from "@grpc/grpc-js";
import { readReflection } from "../grpc/reflection-client.ts";
import type { DescribeValues } from "./call-settings.ts";
import { symbolJson, symbolText } from "./contract-text.ts";
import type { Screen } from "./display.ts";
import { EXIT_CODES } from "./exit-code.ts";
import { type ContractSymbol, findSymbol } from "./find-symbol.ts";
import { readContract, type ServiceContract } from "./service-contract.ts";

/** Shows what a server says of itself, all services where no name is given; the exit code, throws SwitchoverError. */
export async function describe(
  values: DescribeValues,
  name: string,
  { client, screen }: { readonly client: Client; readonly screen: Screen },
): Promise<number> {
  const contract = readContract(await readReflection(client, values["timeout-ms"]));
  const found = name === "" ? servicesOf(contract) : withItsMessages(findSymbol(contract, name), contract);
  if (values.json === "on") {
    for (const symbol of found) screen.write(`${JSON.stringify(symbolJson(symbol))}\n`);
  } else screen.write(`${found.map(symbolText).join("\n\n")}\n`);
  return EXIT_CODES.done;
}

function servicesOf({ services }: ServiceContract): readonly ContractSymbol[] {
  return [...services].map(([name, methods]) => ({ t: "service", name, methods }));
}

/** Who looks for a method wants to know what to ask it with. */
function withItsMessages(symbol: ContractSymbol, { messages }: ServiceContract): readonly ContractSymbol[] {
  if (symbol.t !== "method") return [symbol];
  const { request, response } = symbol.method;
  const found = [request, response].flatMap((name) => messages.get(name) ?? []);
  return [symbol, ...found.map((message) => ({ t: "message" as const, name: message.name, message }))];
}
