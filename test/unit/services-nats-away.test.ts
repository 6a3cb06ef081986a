import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import type { Log } from "../../services/log/log.ts";
import { OwnNatsServer } from "../../services/nats-server/own-nats-server.ts";
import { PLAIN } from "../plain-text.ts";
import { skipWithout } from "../resource.ts";
import { startCoordinatorHere } from "./coordinator-here.ts";
import { freeze } from "./freeze.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };
const GUEST_ID = "web-7";

async function startAll(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), "switchover-nats-away-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const nats = await OwnNatsServer.start({ address: "127.0.0.1", port: 0, folder, log: SILENT });
  t.after(() => nats.close());
  const coordinator = await startCoordinatorHere(nats.url);
  t.after(() => coordinator.close());
  const client = openChannel(coordinator.targets[0] ?? "", { ...PLAIN, retriedServices: [] });
  t.after(() => client.close());
  return { nats, client };
}

test("callers are answered within two seconds while NATS does not answer, and as ever when it does again", {
  skip: skipWithout("natsServer"),
  timeout: 60_000,
}, async (t) => {
  const { nats, client } = await startAll(t);
  const migrationId = `${GUEST_ID}-mk3v0q8ya1z9`;
  const ends = { guestId: GUEST_ID, sourceHostId: "ha", destinationHostId: "hb" };
  const spec = { ...ends, sourceInstanceId: "", destinationInstanceId: "", mode: MigrationMode.LIVE };
  const start = {
    requestId: "r1",
    spec: {
      ...spec,
      transfer: undefined,
      postCopy: undefined,
      labels: {},
      priority: 0,
      deadline: undefined,
    },
    validateOnly: false,
  };
  const answered = async (call: Promise<unknown>): Promise<SwitchoverError> =>
    call.then(
      () => assert.fail("It was done."),
      (thrown) => SwitchoverError.from(thrown),
    );
  const options = { timeoutMs: 10_000 };
  freeze(nats.pid);
  try {
    for (const call of [
      () => callUnary(client, methods.startMigration, start, options),
      () => callUnary(client, methods.getMigration, { migrationId }, options),
      () => callUnary(client, methods.cancelMigration, { migrationId }, options),
    ]) {
      const sinceMs = performance.now();
      assert.equal((await answered(call())).code, "UNAVAILABLE");
      assert.ok(performance.now() - sinceMs < 2_000);
    }
  } finally {
    process.kill(nats.pid, "SIGCONT");
  }
  let last = "";
  for (let attempt = 0; attempt < 50 && last !== "HOST_UNKNOWN"; attempt += 1) {
    last = (await answered(callUnary(client, methods.startMigration, start, options))).reason;
  }
  assert.equal(last, "HOST_UNKNOWN");
});
