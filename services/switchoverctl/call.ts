import type { Client } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { readReflection } from "../grpc/reflection-client.ts";
import { callServerStream } from "../grpc/server-stream.ts";
import { callUnary } from "../grpc/unary.ts";
import { jsonFromAnswer } from "./answer-json.ts";
import type { CallValues } from "./call-settings.ts";
import type { Screen } from "./display.ts";
import { EXIT_CODES } from "./exit-code.ts";
import { findMethod } from "./find-symbol.ts";
import { requestFromJson } from "./request-json.ts";
import { readContract } from "./service-contract.ts";

export interface CallPorts {
  readonly client: Client;
  readonly screen: Screen;
  /** Aborts when the person wants to go: that ends a stream. */
  readonly signal: AbortSignal;
}

/** Calls a method as the server itself describes it; returns the exit code, throws SwitchoverError. */
export async function call(
  values: CallValues,
  methodName: string,
  json: string,
  { client, screen, signal }: CallPorts,
): Promise<number> {
  const timeoutMs = values["timeout-ms"];
  const contract = readContract(await readReflection(client, timeoutMs));
  const { name, asks, answers, definition, request, response } = findMethod(contract, methodName);
  if (asks === "stream") {
    const sentence = `${name} takes a stream of requests, which cannot be given here.`;
    throw new SwitchoverError("UNIMPLEMENTED", sentence, { reason: "REQUEST_STREAM" });
  }
  const message = requestFromJson(json, request, contract);
  const show = (answer: object, form: "one line" | "indented"): void => {
    const object = jsonFromAnswer(answer, response, contract);
    screen.write(`${JSON.stringify(object, null, form === "one line" ? 0 : 2)}\n`);
  };
  if (answers === "one") {
    const answer = await callUnary(client, definition, message, { timeoutMs, signal });
    show(answer, values.json === "on" ? "one line" : "indented");
    return EXIT_CODES.done;
  }
  try {
    const options = { signal, reachedWithinMs: timeoutMs };
    for await (const answer of callServerStream(client, definition, message, options))
      show(answer, "one line");
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
  }
  return EXIT_CODES.done;
}
