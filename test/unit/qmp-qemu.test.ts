import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Clock } from "../../agent/clock.ts";
import { migrationUriOf, parseMigrationAddresses } from "../../agent/vmm/migration-address.ts";
import { parseMigrationProgress } from "../../agent/vmm/migration-progress.ts";
import { openQemu, type Qemu } from "../../agent/vmm/qemu.ts";
import type { VmmEvent } from "../../agent/vmm/vmm.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { HostId } from "../../proto/ids.ts";
import { type QmpScript, ScriptedQmpServer } from "./scripted-qmp-server.ts";

const OK = { value: {} };

const clock: Clock = {
  unixUs: () => Date.now() * 1000,
  after: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs);
    return () => clearTimeout(timer);
  },
};

async function withQemu(
  script: QmpScript,
  use: (qemu: Qemu, server: ScriptedQmpServer, events: VmmEvent[]) => Promise<void>,
): Promise<void> {
  const server = await ScriptedQmpServer.start(script);
  const events: VmmEvent[] = [];
  try {
    const qemu = await openQemu({
      path: server.path,
      connectTimeoutMs: 5_000,
      clock,
      onEvent: (event) => events.push(event),
    });
    await use(qemu, server, events).finally(() => qemu.close());
  } finally {
    await server.end();
  }
}

/** The part of `query-qmp-schema` that features are read from, with QEMU's hidden type names. */
function schemaWith(statuses: readonly string[]): unknown {
  const named = (names: readonly string[]): unknown => names.map((name) => ({ name }));
  return [
    { name: "MIGRATION", "meta-type": "event", "arg-type": "1" },
    { name: "1", "meta-type": "object", members: [{ name: "status", type: "2" }] },
    { name: "2", "meta-type": "enum", members: named(statuses), values: statuses },
    { name: "migrate-set-capabilities", "meta-type": "command", "arg-type": "3", "ret-type": "0" },
    { name: "3", "meta-type": "object", members: [{ name: "capabilities", type: "[4]" }] },
    { name: "[4]", "meta-type": "array", "element-type": "4" },
    { name: "4", "meta-type": "object", members: [{ name: "capability", type: "5" }] },
    { name: "5", "meta-type": "enum", members: named(["events", "postcopy-ram"]) },
  ];
}

const VERSION = { value: { qemu: { major: 7, minor: 2, micro: 22 }, package: "Debian" } };

describe("QEMU's commands", () => {
  it("have the names and arguments that QEMU has given them", async () => {
    const names = [
      ...["cont", "stop", "quit", "migrate-set-capabilities", "migrate-set-parameters", "migrate"],
      ...["migrate_cancel", "migrate-incoming", "migrate-start-postcopy", "migrate-pause", "migrate-recover"],
      "announce-self",
    ];
    await withQemu({ replies: Object.fromEntries(names.map((name) => [name, OK])) }, async (qemu, server) => {
      await qemu.cont();
      await qemu.stop();
      await qemu.setMigrationCapabilities([{ capability: "events", enabled: true }]);
      await qemu.setMigrationParameters({
        maxBandwidthBytesPerSecond: 1,
        downtimeLimitMs: 2,
        multifdChannels: 3,
        maxPostcopyBandwidthBytesPerSecond: 4,
      });
      await qemu.migrate("tcp:192.0.2.1:4444");
      await qemu.migrateCancel();
      await qemu.migrateIncoming("tcp:192.0.2.1:0");
      await qemu.migrateStartPostcopy();
      await qemu.migratePause();
      await qemu.migrateRecover("tcp:192.0.2.1:0");
      await qemu.migrateResume("tcp:192.0.2.1:4445");
      await qemu.announceSelf({ rounds: 5, initialMs: 50, maxMs: 550, stepMs: 100 });
      await qemu.quit();
      assert.deepEqual(
        server.received.map(({ name, band, args }) => [name, band, args]),
        [
          ["cont", "in-band", undefined],
          ["stop", "in-band", undefined],
          ["migrate-set-capabilities", "in-band", { capabilities: [{ capability: "events", state: true }] }],
          [
            "migrate-set-parameters",
            "in-band",
            { "max-bandwidth": 1, "downtime-limit": 2, "multifd-channels": 3, "max-postcopy-bandwidth": 4 },
          ],
          ["migrate", "in-band", { uri: "tcp:192.0.2.1:4444" }],
          ["migrate_cancel", "in-band", undefined],
          ["migrate-incoming", "in-band", { uri: "tcp:192.0.2.1:0" }],
          ["migrate-start-postcopy", "in-band", undefined],
          ["migrate-pause", "out-of-band", undefined],
          ["migrate-recover", "out-of-band", { uri: "tcp:192.0.2.1:0" }],
          ["migrate", "in-band", { uri: "tcp:192.0.2.1:4445", resume: true }],
          ["announce-self", "in-band", { rounds: 5, initial: 50, max: 550, step: 100 }],
          ["quit", "in-band", undefined],
        ],
      );
    });
  });

  it("secure a transfer anew for each migration, and name its peer on both sides", async () => {
    const none = { refusal: "object 'switchover-peer' not found" };
    const replies = { "object-del": none, "object-add": OK, "migrate-set-parameters": OK };
    const certificates = { folder: "/etc/m", subject: "OU=migration,CN={host}" };
    await withQemu({ replies }, async (qemu, server) => {
      await qemu.secureTransfer({ side: "destination", peer: "ha" as HostId, certificates });
      await qemu.secureTransfer({ side: "source", peer: "hb" as HostId, certificates });
      const removed = [
        ["object-del", { id: "switchover-peer" }],
        ["object-del", { id: "switchover-tls" }],
      ];
      const credentials = (endpoint: string) => ({
        "qom-type": "tls-creds-x509",
        id: "switchover-tls",
        dir: "/etc/m",
        endpoint,
        "verify-peer": true,
        priority: "NORMAL:-VERS-ALL:+VERS-TLS1.3",
      });
      const peer = { "qom-type": "authz-simple", id: "switchover-peer", identity: "OU=migration,CN=ha" };
      assert.deepEqual(
        server.received.map(({ name, args }) => [name, args]),
        [
          ...removed,
          ["object-add", credentials("server")],
          ["object-add", peer],
          ["migrate-set-parameters", { "tls-creds": "switchover-tls", "tls-authz": "switchover-peer" }],
          ...removed,
          ["object-add", credentials("client")],
          ["migrate-set-parameters", { "tls-creds": "switchover-tls", "tls-hostname": "hb" }],
        ],
      );
    });
  });

  it("fall back to in-band where out-of-band is not offered", async () => {
    await withQemu({ capabilities: [], replies: { "migrate-pause": OK } }, async (qemu, server) => {
      await qemu.migratePause();
      assert.equal(server.received[0]?.band, "in-band");
    });
  });

  it("send no parameter that is no whole number from 0", async () => {
    await withQemu({}, async (qemu, server) => {
      for (const downtimeLimitMs of [-1, 0.5, Number.NaN, 2 ** 60]) {
        const thrown: unknown = await qemu
          .setMigrationParameters({ downtimeLimitMs })
          .catch((error) => error);
        assert.ok(thrown instanceof SwitchoverError);
        assert.deepEqual([thrown.code, thrown.field], ["INVALID_ARGUMENT", "downtimeLimitMs"]);
      }
      assert.deepEqual(server.received, []);
    });
  });

  it("read query-status with the state that explains it", async () => {
    const value = { status: "postmigrate", singlestep: false, running: false };
    await withQemu({ replies: { "query-status": { value } } }, async (qemu) => {
      assert.deepEqual(await qemu.queryStatus(), {
        runState: "postmigrate",
        runStateText: "postmigrate",
        running: false,
      });
    });
  });

  it("fail, and do not throw into the data handler, where an answer is not as QEMU documents it", async () => {
    await withQemu({ replies: { "query-status": { value: { status: 1 } } } }, async (qemu) => {
      const thrown: unknown = await qemu.queryStatus().catch((error) => error);
      assert.ok(thrown instanceof SwitchoverError);
      assert.deepEqual([thrown.code, thrown.reason], ["INTERNAL", "QMP_MALFORMED"]);
    });
  });
});

describe("a start that QEMU did not answer in time", () => {
  const refusal = (id: number) => ({ id, error: { class: "GenericError", desc: "Failed to get a lock" } });

  it("is told as refused once QEMU refuses it after all", async () => {
    await withQemu({ replies: { cont: "silence", stop: OK } }, async (qemu, server, events) => {
      await assert.rejects(qemu.cont({ timeoutMs: 20 }), { reason: "QMP_TIMEOUT" });
      const { id } = await server.command(1);
      server.write(refusal(id));
      await qemu.stop();
      assert.deepEqual(
        events.map((event) => (event.kind === "startRefused" ? event.sentence : event.kind)),
        ['QEMU refused "cont": Failed to get a lock'],
      );
    });
  });

  it("is nobody's any more where it was begun, or was ordered again", async () => {
    await withQemu({ replies: { cont: "silence", stop: OK } }, async (qemu, server, events) => {
      await assert.rejects(qemu.cont({ timeoutMs: 20 }));
      server.write({ id: (await server.command(1)).id, return: {} });
      await assert.rejects(qemu.cont({ timeoutMs: 20 }));
      const again = qemu.cont({ timeoutMs: 5_000 }).catch(({ reason }) => reason);
      const { id } = await server.command(2);
      server.write(refusal(id), refusal((await server.command(3)).id));
      assert.equal(await again, "QMP_REFUSED");
      assert.deepEqual(events, []);
    });
  });
});

describe("QEMU's features", () => {
  it("tell a QEMU without the status postcopy-device from one with it", async () => {
    for (const [statuses, expected] of [
      [["none", "postcopy-active"], "unknown"],
      [["none", "postcopy-device", "postcopy-active"], "known"],
    ] as const) {
      const replies = { "query-version": VERSION, "query-qmp-schema": { value: schemaWith(statuses) } };
      await withQemu({ replies }, async (qemu) => {
        assert.deepEqual(await qemu.describeFeatures(), {
          version: { major: 7, minor: 2, micro: 22, packageText: "Debian" },
          versionText: "7.2.22 (Debian)",
          outOfBand: "enabled",
          postcopyDeviceStatus: expected,
          migrationStatuses: statuses,
          migrationCapabilities: ["events", "postcopy-ram"],
        });
      });
    }
  });
});

describe("a QEMU that goes", () => {
  it("is reported once, as disconnected", async () => {
    await withQemu({ replies: { stop: "silence" } }, async (qemu, server, events) => {
      const pending = qemu.stop().catch((error: unknown) => error);
      await server.command(1);
      server.hangUp();
      const thrown = await pending;
      assert.equal(thrown instanceof SwitchoverError ? thrown.reason : thrown, "QMP_CLOSED");
      assert.deepEqual(
        events.map(({ kind }) => kind),
        ["disconnected"],
      );
    });
  });
});

describe("the answer to query-migrate", () => {
  it("is a migration that never was where it is empty", () => {
    const progress = parseMigrationProgress({});
    assert.deepEqual([progress.status, progress.totalBytes, progress.passes], ["none", 0, 0]);
    assert.deepEqual(progress.addresses, []);
  });

  it("carries why a migration failed", () => {
    const progress = parseMigrationProgress({ status: "failed", "error-desc": "Connection refused" });
    assert.deepEqual([progress.status, progress.errorDesc], ["failed", "Connection refused"]);
  });
});

describe("a migration address", () => {
  it("becomes the URI that the source connects to", () => {
    const addresses = parseMigrationAddresses([
      { type: "inet", host: "192.0.2.1", port: "4444", ipv4: true },
      { type: "inet", host: "2001:db8::1", port: "4445" },
      { type: "unix", path: "/run/in.sock" },
      { type: "vsock", cid: "3", port: "1" },
    ]);
    assert.deepEqual(addresses.map(migrationUriOf), [
      "tcp:192.0.2.1:4444",
      "tcp:[2001:db8::1]:4445",
      "unix:/run/in.sock",
    ]);
  });
});
