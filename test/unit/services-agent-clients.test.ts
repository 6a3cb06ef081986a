import assert from "node:assert/strict";
import { test } from "node:test";
import { knownCapabilities } from "../../proto/agent-capabilities.ts";
import { HandBackRequest } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { HostId } from "../../proto/ids.ts";
import { AGENT_CAPABILITIES } from "../../services/agent/capabilities.ts";
import { AgentClients } from "../../services/coordinator/agent-clients.ts";
import { PLAINTEXT } from "../../services/tls/security.ts";

const HA = "ha" as HostId;
const CALL = { deadlineMs: 500, signal: new AbortController().signal };

function clientsFor(capabilities: readonly string[]): AgentClients {
  const record = HostRecord.create({ hostId: HA, target: "127.0.0.1:1", version: "0.0.9", capabilities });
  return new AgentClients({ lastKnown: () => record, get: async () => record }, PLAINTEXT);
}

test("an agent is not called for what it does not know", async (t) => {
  const clients = clientsFor(AGENT_CAPABILITIES.filter((name) => name !== "rpc/HandBack"));
  t.after(() => clients.close());
  await assert.rejects(clients.handBack(HA, HandBackRequest.create(), CALL), {
    code: "UNIMPLEMENTED",
    reason: "CAPABILITY_MISSING",
    message: "The agent of host ha (version 0.0.9) does not know rpc/HandBack.",
  });
});

test("an agent that knows a call is called, and one that says nothing is taken for as old as the lists", async (t) => {
  for (const capabilities of [AGENT_CAPABILITIES, []]) {
    const clients = clientsFor(capabilities);
    t.after(() => clients.close());
    // Nobody listens there: it was tried.
    await assert.rejects(clients.handBack(HA, HandBackRequest.create(), CALL), { code: "UNAVAILABLE" });
  }
});

test("this version's agents know all that agents knew when the lists began", () => {
  assert.deepEqual(
    knownCapabilities([]).filter((name) => !AGENT_CAPABILITIES.includes(name)),
    [],
  );
});
