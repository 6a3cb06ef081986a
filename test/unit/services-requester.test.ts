import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Metadata } from "@grpc/grpc-js";
import { requesterOf } from "../../services/grpc/requester.ts";

const IDENTITY = "spiffe://trial/control-plane/cloud";

function requester(peer: string, ...userAgents: readonly string[]) {
  const metadata = new Metadata();
  for (const userAgent of userAgents) metadata.add("user-agent", userAgent);
  return requesterOf({ identity: IDENTITY, peer, metadata });
}

describe("who makes a call", () => {
  it("is the caller's address as gRPC names it, what its certificate proves and what it says that it is", () => {
    for (const [peer, named] of [
      ["10.0.0.9:51234", "ipv4:10.0.0.9:51234"],
      ["[2001:db8::9]:51234", "ipv6:[2001:db8::9]:51234"],
      ["ipv4:10.0.0.9:51234", "ipv4:10.0.0.9:51234"],
      ["unix:/run/c.sock", "unix:/run/c.sock"],
      ["unknown", "unknown"],
    ] as const) {
      assert.deepEqual(requester(peer, "control-plane/7"), {
        peer: named,
        userAgent: "control-plane/7",
        identity: IDENTITY,
        drainId: "",
      });
    }
  });

  it("keeps no more than 256 characters of what the caller says, and nothing where it says nothing", () => {
    assert.equal(requester("unknown", "x".repeat(300)).userAgent, "x".repeat(256));
    assert.equal(requester("unknown").userAgent, "");
  });
});
