import assert from "node:assert/strict";
import { test } from "node:test";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import type { MessageTypeDefinition } from "@grpc/proto-loader";
import { SwitchoverError } from "../../proto/error.ts";
import { fromGrpcError, toGrpcStatus } from "../../services/grpc/status.ts";
import { loadContract } from "./contract-definitions.ts";

const contract = loadContract();

/** Details as a program reads them that has the .proto files alone. */
function detailsOf(error: SwitchoverError): Record<string, unknown> {
  const [header] = toGrpcStatus(error).metadata?.get("grpc-status-details-bin") ?? [];
  assert.ok(header instanceof Buffer);
  const read = (name: string, bytes: Buffer) =>
    (contract[name] as MessageTypeDefinition<object, object>).deserialize(bytes);
  const { details } = read("google.rpc.Status", header) as {
    details: readonly { type_url: string; value: Buffer }[];
  };
  return Object.fromEntries(
    details.map(({ type_url, value }) => {
      const name = type_url.replace("type.googleapis.com/", "");
      return [name, read(name, value)];
    }),
  );
}

function acrossTheWire(error: SwitchoverError): SwitchoverError {
  const { code, details, metadata } = toGrpcStatus(error);
  assert.equal(decodeURI(encodeURI(details)), details);
  return fromGrpcError({ code, details, metadata: metadata ?? new Metadata() } as ServiceError);
}

test("reason, metadata, field and delay are google.rpc details that the contract's files describe", () => {
  const error = new SwitchoverError("RESOURCE_EXHAUSTED", "Too many.", {
    reason: "OVERLOADED",
    field: "spec.guest_id",
    metadata: { running: "7" },
    retryAfterMs: 1_250,
  });
  assert.deepEqual(detailsOf(error), {
    "google.rpc.ErrorInfo": { reason: "OVERLOADED", domain: "switchover", metadata: { running: "7" } },
    "google.rpc.BadRequest": { field_violations: [{ field: "spec.guest_id", description: "Too many." }] },
    "google.rpc.RetryInfo": { retry_delay: { seconds: "1", nanos: 250_000_000 } },
  });
  const { retryAfterMs, reason, field } = acrossTheWire(error);
  assert.deepEqual(
    { retryAfterMs, reason, field },
    { retryAfterMs: 1_250, reason: "OVERLOADED", field: "spec.guest_id" },
  );
});

test("without a known delay there is no RetryInfo, and none is read", () => {
  const error = new SwitchoverError("UNAVAILABLE", "Away.", { reason: "NATS_UNREACHABLE" });
  assert.equal(detailsOf(error)["google.rpc.RetryInfo"], undefined);
  assert.equal(acrossTheWire(error).retryAfterMs, undefined);
});

test("a caller's text that was cut within a character is sent all the same", () => {
  const half = "\u{1f600}".slice(0, 1);
  const error = new SwitchoverError("INVALID_ARGUMENT", `"${half}" is not a guest id.`, {
    reason: "MALFORMED",
  });
  assert.equal(acrossTheWire(error).message, '"\ufffd" is not a guest id.');
});

test("a sentence of any length and script leaves room in an 8 KiB header", () => {
  for (const text of ["x", "ä", "語", "\u{1f600}", "%"]) {
    const error = new SwitchoverError("INVALID_ARGUMENT", text.repeat(5_000), {
      reason: "MALFORMED",
      field: "guest_id",
    });
    const { details, metadata } = toGrpcStatus(error);
    const [header] = metadata?.get("grpc-status-details-bin") ?? [];
    assert.ok(header instanceof Buffer);
    assert.ok(encodeURI(details).length + header.toString("base64").length < 7_000, text);
  }
});
