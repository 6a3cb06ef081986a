/** Wrong input to RPCs, as tables: what each answers over real gRPC, and that it has changed nothing. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Client, credentials, type MethodDefinition, type ServiceDefinition } from "@grpc/grpc-js";
import type { ServiceDefinition as LoadedService, MessageTypeDefinition } from "@grpc/proto-loader";
import { type ErrorCode, SwitchoverError } from "../../proto/error.ts";
import { callServerStream } from "../../services/grpc/server-stream.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import { loadContract } from "./contract-definitions.ts";

export interface WrongInput {
  readonly rpc: string;
  readonly what: string;
  /** Laid over the RPC's request that is right. */
  readonly changes: Readonly<Record<string, unknown>>;
  readonly answer: readonly [code: ErrorCode, reason: string, field?: string];
}

export type Requests = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

export interface WrongInputTable {
  readonly service: ServiceDefinition;
  /** "switchover.v1.MigrationService" */
  readonly serviceName: string;
  /** One of each RPC that would be taken, or refused for the state alone. */
  readonly requests: Requests;
  readonly rows: readonly WrongInput[];
}

/** What no id may be; gRPC must bring the answer across whatever it quotes of it. */
const NO_IDS: readonly (readonly [what: string, text: string, reason: string])[] = [
  ["empty", "", "REQUIRED"],
  ["with a space", "we b", "MALFORMED"],
  ["with a dot", "web.7", "MALFORMED"],
  ["of 64 characters", "x".repeat(64), "MALFORMED"],
  ["of a million characters", "x".repeat(1_000_000), "MALFORMED"],
  ["cut within a character", `${"x".repeat(63)}\u{1f600}`, "MALFORMED"],
];

/** Each text that is no id, in the field `field` of the RPC. */
export function wrongIds(
  rpc: string,
  field: string,
  change: (text: string) => Readonly<Record<string, unknown>>,
  empty: "refused" | "allowed" = "refused",
): readonly WrongInput[] {
  return NO_IDS.filter(([, text]) => empty === "refused" || text !== "").map(([what, text, reason]) => ({
    rpc,
    what: `${field} ${what}`,
    changes: change(text),
    answer: ["INVALID_ARGUMENT", reason, field],
  }));
}

/** Names of the service's RPCs as its methods are called in generated code. */
function rpcsOf(service: ServiceDefinition): readonly string[] {
  return Object.keys(service);
}

/** Of the contract's files, as proto-loader reads them. */
function fieldCount(serviceName: string, rpc: string): number {
  const method = Object.values(loadContract()[serviceName] as LoadedService).find(
    ({ originalName }) => originalName === rpc,
  );
  assert.ok(method !== undefined, rpc);
  const { type } = method.requestType as MessageTypeDefinition<object, object>;
  return (type as { readonly field: readonly unknown[] }).field.length;
}

/** Throws as the program's own clients do. */
async function ask(client: Client, method: MethodDefinition<unknown, unknown>, request: unknown) {
  if (!method.responseStream) return callUnary(client, method, request, { timeoutMs: 20_000 });
  for await (const response of callServerStream(client, method, request)) return response;
  return undefined;
}

async function refusalOf(work: Promise<unknown>): Promise<SwitchoverError> {
  try {
    await work;
  } catch (thrown) {
    return SwitchoverError.from(thrown);
  }
  return assert.fail("It was not refused.");
}

/** A service that listens, and all that a call to it may change, as one text. */
export interface Served {
  readonly target: string;
  readonly fingerprint: () => Promise<string>;
}

/** A test a row, and one that no RPC is without rows. */
export function describeWrongInput(table: WrongInputTable, open: () => Promise<Served>): void {
  const { service, serviceName, requests, rows } = table;

  test(`${serviceName}: every RPC whose request has fields has rows here`, () => {
    for (const rpc of rpcsOf(service)) {
      const own = rows.filter((row) => row.rpc === rpc).length;
      assert.ok(own > 0 || fieldCount(serviceName, rpc) === 0, `${rpc} has no row`);
      assert.ok(requests[rpc] !== undefined, `${rpc} has no request`);
    }
    for (const { rpc } of rows) assert.ok(service[rpc] !== undefined, `${rpc} is no RPC`);
  });

  test(`${serviceName}: what wrong input is answered is in docs/errors.md`, () => {
    const documented = readFileSync(new URL("../../../docs/errors.md", import.meta.url), "utf8").split("\n");
    for (const { rpc, answer } of rows) {
      const [code, reason] = answer;
      const line = new RegExp(`^\\| ${code} +\\| ${reason} +\\|`);
      assert.ok(
        documented.some((text) => line.test(text)),
        `${rpc}: ${code} / ${reason}`,
      );
    }
  });

  for (const rpc of rpcsOf(service)) {
    test(`${serviceName}: ${rpc} refuses wrong input and changes nothing`, { timeout: 60_000 }, async (t) => {
      const served = await open();
      // Without this program's own limit on what is sent.
      const unlimited = { "grpc.max_send_message_length": -1 };
      const client = new Client(served.target, credentials.createInsecure(), unlimited);
      t.after(() => client.close());
      const method = service[rpc] as MethodDefinition<unknown, unknown>;
      const before = await served.fingerprint();
      for (const { what, changes, answer } of rows.filter((row) => row.rpc === rpc)) {
        await t.test(what, async () => {
          const error = await refusalOf(ask(client, method, { ...requests[rpc], ...changes }));
          const { code, reason, field } = error;
          assert.deepEqual([code, reason, field], [answer[0], answer[1], answer[2]], error.message);
          assert.equal(await served.fingerprint(), before);
        });
      }
      await t.test("a message of more than 4 MiB", async () => {
        const oversized = { ...method, requestSerialize: () => Buffer.alloc(5 * 1024 * 1024) };
        const { code, reason } = await refusalOf(ask(client, oversized, {}));
        assert.deepEqual([code, reason], ["RESOURCE_EXHAUSTED", "GRPC_RESOURCE_EXHAUSTED"]);
      });
      await t.test("bytes that are no message", async () => {
        const garbled = { ...method, requestSerialize: () => Buffer.from([0x0a, 0xff]) };
        const { code, reason } = await refusalOf(ask(client, garbled, {}));
        assert.deepEqual([code, reason], ["INTERNAL", "GRPC_INTERNAL"]);
      });
      assert.equal(await served.fingerprint(), before);
    });
  }
}
