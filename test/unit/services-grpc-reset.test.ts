import assert from "node:assert/strict";
import { test } from "node:test";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { fromGrpcError, toGrpcStatus } from "../../services/grpc/status.ts";

function failed(code: status, details: string, metadata = new Metadata()): ServiceError {
  return Object.assign(new Error(details), { code, details, metadata });
}

test("a call whose stream was reset without a status is UNAVAILABLE, for it may have been carried out", () => {
  const reset = failed(status.INTERNAL, "Received RST_STREAM with code 0 (Call ended without gRPC status)");
  const { code, reason } = fromGrpcError(reset);
  assert.deepEqual({ code, reason }, { code: "UNAVAILABLE", reason: "GRPC_STREAM_RESET" });
});

test("what the called side itself calls INTERNAL stays so, whatever it says", () => {
  const fault = new SwitchoverError("INTERNAL", "Received RST_STREAM it says.", { reason: "NATS_REFUSED" });
  const { details, metadata } = toGrpcStatus(fault);
  const { code, reason } = fromGrpcError(failed(status.INTERNAL, details ?? "", metadata ?? new Metadata()));
  assert.deepEqual({ code, reason }, { code: "INTERNAL", reason: "NATS_REFUSED" });
  assert.equal(fromGrpcError(failed(status.INTERNAL, "Something else.")).reason, "GRPC_INTERNAL");
});
