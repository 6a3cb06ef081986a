import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { startAgentServer } from "../../services/agent/server.ts";
import { AGENT_SETTINGS } from "../../services/agent/settings.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import type { Log } from "../../services/log/log.ts";

/** An agent in the test's own process, until the test's end; resolves with its target once it is registered. */
export async function startAgentHere(
  t: TestContext,
  hostId: string,
  natsUrl: string,
  folder: string,
): Promise<string> {
  const flags = [
    "--host-id",
    hostId,
    "--insecure-loopback",
    "--listen",
    "127.0.0.1:0",
    "--nats-url",
    natsUrl,
  ];
  // Beside other tests' processes, and not ahead of them.
  const host = ["--state-dir", join(folder, hostId), "--cpu-priority", "normal", "--expedite-rcu", "never"];
  const reading = readSettings(AGENT_SETTINGS, [...flags, ...host], {});
  assert.ok(reading.t === "settings");
  let register: () => void = () => {};
  const registered = new Promise<void>((resolve) => {
    register = resolve;
  });
  const log: Log = {
    debug() {},
    info: (_, sentence) => {
      if (sentence === "The host is in the host registry.") register();
    },
    warn() {},
    error() {},
  };
  const server = await startAgentServer(reading.values, log);
  t.after(() => server.close());
  await registered;
  return server.target;
}
