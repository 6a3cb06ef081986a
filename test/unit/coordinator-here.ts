import assert from "node:assert/strict";
import { readSettings } from "../../services/config/read-settings.ts";
import { startCoordinatorServer } from "../../services/coordinator/server.ts";
import { COORDINATOR_SETTINGS } from "../../services/coordinator/settings.ts";
import type { Log } from "../../services/log/log.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** A coordinator in the test's own process, on a nats-server that is there; the caller closes it. */
export function startCoordinatorHere(natsUrl: string): ReturnType<typeof startCoordinatorServer> {
  const flags = [
    "--coordinator-id",
    "c1",
    "--insecure-loopback",
    "--listen",
    "127.0.0.1:0",
    "--nats-url",
    natsUrl,
  ];
  const reading = readSettings(COORDINATOR_SETTINGS, flags, {});
  assert.ok(reading.t === "settings");
  return startCoordinatorServer(reading.values, SILENT);
}
