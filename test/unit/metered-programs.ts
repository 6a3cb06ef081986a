import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Client } from "@grpc/grpc-js";
import { startAgentServer } from "../../services/agent/server.ts";
import { AGENT_SETTINGS } from "../../services/agent/settings.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import { startCoordinatorServer } from "../../services/coordinator/server.ts";
import { COORDINATOR_SETTINGS } from "../../services/coordinator/settings.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import type { Log } from "../../services/log/log.ts";
import { newFolder } from "./program-process.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** A program that answers calls, and scrapes at `metricsUrl`. */
export interface Metered {
  readonly client: Client;
  readonly metricsUrl: string;
}

export interface MeteredPrograms {
  readonly coordinator: Metered;
  /** Of the hosts ha and hb. */
  readonly agents: readonly [Metered, Metered];
}

/** A coordinator with its own nats-server and two agents, in the test's process, with metrics, until the test's end. */
export async function startMeteredPrograms(t: TestContext): Promise<MeteredPrograms> {
  const folder = await newFolder(t);
  const metered = (target: string | undefined, metricsUrl: string | undefined): Metered => {
    const client = openChannel(target ?? "", { retriedServices: [] });
    t.after(() => client.close());
    return { client, metricsUrl: metricsUrl ?? assert.fail("no metrics") };
  };
  const listen = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
  const nats = ["--coordinator-id", "c1", "--nats-listen", "127.0.0.1:0", "--data-dir", join(folder, "c1")];
  const coordinatorRead = readSettings(COORDINATOR_SETTINGS, [...listen, ...nats], {});
  assert.ok(coordinatorRead.t === "settings", JSON.stringify(coordinatorRead));
  const server = await startCoordinatorServer(coordinatorRead.values, SILENT);
  t.after(() => server.close());
  const agent = async (hostId: string): Promise<Metered> => {
    const host = ["--host-id", hostId, "--nats-url", server.natsUrl, "--state-dir", join(folder, hostId)];
    // Beside other tests' processes, and not ahead of them.
    const mild = ["--cpu-priority", "normal", "--expedite-rcu", "never"];
    const read = readSettings(AGENT_SETTINGS, [...listen, ...host, ...mild], {});
    assert.ok(read.t === "settings", JSON.stringify(read));
    let register: () => void = () => {};
    const registered = new Promise<void>((resolve) => {
      register = resolve;
    });
    const info: Log["info"] = (_, sentence) => {
      if (sentence === "The host is in the host registry.") register();
    };
    const started = await startAgentServer(read.values, { ...SILENT, info });
    t.after(() => started.close());
    await registered;
    return metered(started.target, started.metricsUrl);
  };
  const agents = await Promise.all([agent("ha"), agent("hb")]);
  return { coordinator: metered(server.targets[0], server.metricsUrl), agents };
}
