import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { migrationUriOf } from "../../agent/vmm/migration-address.ts";
import type { MigrationProgress } from "../../agent/vmm/migration-progress.ts";
import { openQmp, type QmpClient } from "../../agent/vmm/qmp-client.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { skipWithout } from "../resource.ts";
import {
  type BarePair,
  destinationReady,
  migrateByTheBook,
  startTransfer,
  statusAfter,
  withBarePair,
} from "./qmp-bare-migration.ts";
import { BareQemu, type BareQemuOptions, isKind, isStatus, labClock } from "./qmp-bare-qemu.ts";

async function withBareQemu(options: BareQemuOptions, use: (qemu: BareQemu) => Promise<void>): Promise<void> {
  const qemu = await BareQemu.start(options);
  await use(qemu).finally(() => qemu.end());
}

function connect(path: string, connectTimeoutMs: number): Promise<QmpClient> {
  return openQmp({ path, connectTimeoutMs, clock: labClock, onEvent: () => {}, onClosed: () => {} });
}

async function rejection(promise: Promise<unknown>): Promise<SwitchoverError> {
  const thrown: unknown = await promise.then(
    () => assert.fail("It was expected to reject."),
    (error: unknown) => error,
  );
  assert.ok(thrown instanceof SwitchoverError, String(thrown));
  return thrown;
}

/** Switches to post-copy and starts the destination while most pages are still at the source. */
async function reachPostCopy(pair: BarePair): Promise<void> {
  await startTransfer(pair, "post-copy");
  await pair.source.vmm.setMigrationParameters({ maxPostcopyBandwidthBytesPerSecond: 60_000 });
  await pair.source.vmm.migrateStartPostcopy();
  assert.equal((await destinationReady(pair, "post-copy")).runState, "paused");
  await pair.destination.vmm.cont();
}

describe("QEMU's monitor", { skip: skipWithout("qemu") }, () => {
  it("offers out-of-band commands and describes what it can do", async () => {
    await withBareQemu({ role: "source", cpus: "held" }, async ({ vmm }) => {
      const features = await vmm.describeFeatures();
      assert.equal(features.outOfBand, "enabled");
      assert.ok(features.version.major >= 7);
      assert.ok(features.versionText.startsWith(`${features.version.major}.${features.version.minor}.`));
      for (const status of ["active", "postcopy-active", "completed", "failed"]) {
        assert.ok(features.migrationStatuses.includes(status), status);
      }
      for (const capability of ["events", "postcopy-ram", "return-path", "multifd"]) {
        assert.ok(features.migrationCapabilities.includes(capability), capability);
      }
      const { major, minor } = features.version;
      const knowsPostcopyDevice = major > 10 || (major === 10 && minor >= 2);
      assert.equal(features.postcopyDeviceStatus, knowsPostcopyDevice ? "known" : "unknown");
    });
  });

  it("greets no second client until the first has gone", async () => {
    await withBareQemu({ role: "source", cpus: "held" }, async ({ vmm, qmpPath }) => {
      const second = await rejection(connect(qmpPath, 200));
      assert.deepEqual([second.code, second.reason], ["UNAVAILABLE", "QMP_BUSY"]);
      const crowd = await Promise.all(Array.from({ length: 4 }, () => rejection(connect(qmpPath, 200))));
      assert.deepEqual(new Set(crowd.map(({ reason }) => reason)), new Set(["QMP_BUSY"]));
      vmm.close();
      const next = await connect(qmpPath, 5_000);
      next.close();
    });
  });

  it("says prelaunch under -S, and tells cont and stop by events that precede their answers", async () => {
    await withBareQemu({ role: "source", cpus: "held" }, async ({ vmm, events }) => {
      assert.deepEqual((await vmm.queryStatus()).runState, "prelaunch");
      await vmm.cont();
      assert.deepEqual(
        events.map(({ kind }) => kind),
        ["resume"],
      );
      assert.deepEqual(await vmm.queryStatus(), {
        runState: "running",
        runStateText: "running",
        running: true,
      });
      await vmm.stop();
      await vmm.stop();
      assert.deepEqual(
        events.map(({ kind }) => kind),
        ["resume", "stop"],
      );
      assert.equal((await vmm.queryStatus()).runState, "paused");
      for (const { atUnixUs, receivedAtUnixUs } of events) {
        const delayUs = receivedAtUnixUs - atUnixUs;
        assert.ok(delayUs >= 0 && delayUs < 1_000_000, `${delayUs} us from event to receipt`);
      }
    });
  });

  it("refuses in its own words", async () => {
    await withBareQemu({ role: "source", cpus: "held" }, async ({ vmm }) => {
      const incoming = await rejection(vmm.migrateIncoming("tcp:127.0.0.1:0"));
      assert.deepEqual([incoming.code, incoming.reason], ["FAILED_PRECONDITION", "QMP_REFUSED"]);
      assert.match(incoming.metadata.desc ?? "", /incoming/);
      const pause = await rejection(vmm.migratePause());
      assert.equal(pause.reason, "QMP_REFUSED");
    });
  });

  it("accepts announce-self of a guest without NICs", async () => {
    await withBareQemu({ role: "source", cpus: "held" }, async ({ vmm }) => {
      await vmm.announceSelf({ rounds: 2, initialMs: 10, maxMs: 20, stepMs: 10 });
    });
  });

  it("announces its end by quit, and then the connection ends", async () => {
    await withBareQemu({ role: "source", cpus: "held" }, async (qemu) => {
      await qemu.vmm.quit();
      const shutdown = await qemu.eventAt(isKind("shutdown"));
      assert.deepEqual(shutdown.kind === "shutdown" && [shutdown.by, shutdown.reason], [
        "host",
        "host-qmp-quit",
      ]);
      await qemu.eventAt(isKind("disconnected"));
      await qemu.process.waitForExit(5_000);
    });
  });
});

describe("a migration's failure to connect", { skip: skipWithout("qemu") }, () => {
  it("is no refusal of migrate: the status becomes failed, with the reason in query-migrate", async () => {
    await withBareQemu({ role: "source", cpus: "free" }, async (qemu) => {
      await qemu.vmm.setMigrationCapabilities([{ capability: "events", enabled: true }]);
      await qemu.vmm.migrate("unix:/nonexistent/migration.sock");
      await qemu.eventAt(isStatus("failed"));
      const progress: MigrationProgress = await qemu.vmm.queryMigrate();
      assert.equal(progress.status, "failed");
      assert.match(progress.errorDesc ?? "", /No such file or directory/);
      assert.equal((await qemu.vmm.queryStatus()).running, true);
      assert.deepEqual(qemu.eventNames(), ["setup", "failed"]);
    });
  });
});

describe("an incoming QEMU", { skip: skipWithout("qemu") }, () => {
  it("stays in inmigrate when it is told to stop, without an event", async () => {
    await withBareQemu({ role: "destination", cpus: "free" }, async ({ vmm, events }) => {
      assert.equal((await vmm.queryStatus()).runState, "inmigrate");
      await vmm.stop();
      assert.equal((await vmm.queryStatus()).runState, "inmigrate");
      assert.deepEqual(events, []);
    });
  });

  it("runs by itself at the end of a migration unless it was told to stop before", async () => {
    await withBarePair(async ({ source, destination }) => {
      await destination.vmm.setMigrationCapabilities([{ capability: "events", enabled: true }]);
      await destination.vmm.migrateIncoming("tcp:127.0.0.1:0");
      const [address] = (await destination.vmm.queryMigrate()).addresses;
      assert.ok(address !== undefined);
      await source.vmm.migrate(migrationUriOf(address));
      await destination.eventAt(isKind("resume"));
      assert.equal((await destination.vmm.queryStatus()).running, true);
    });
  });

  it("tells its address also where it listens on a unix socket", async () => {
    await withBareQemu({ role: "destination", cpus: "held" }, async ({ vmm, qmpPath }) => {
      const path = `${qmpPath}-migration`;
      await vmm.migrateIncoming(`unix:${path}`);
      assert.deepEqual((await vmm.queryMigrate()).addresses, [{ kind: "unix", path }]);
    });
  });
});

describe("a migration between two QEMUs", { skip: skipWithout("qemu") }, () => {
  it("in live mode stops the source, completes on both sides, and waits for cont", async () => {
    await withBarePair(async (pair) => {
      const report = await migrateByTheBook(pair, "live");
      assert.deepEqual(
        pair.source.eventNames().filter((name) => name !== "migrationPassed"),
        ["setup", "active", "stop", "completed"],
      );
      assert.deepEqual(pair.destination.eventNames(), ["setup", "active", "completed", "resume"]);
      assert.equal(report.readyStatus.runState, "paused");
      assert.equal(report.sourceStatus.runState, "postmigrate");
      assert.equal(report.destinationStatus.runState, "running");
      assert.equal(report.sourceProgress.remainingBytes, 0);
      assert.ok(report.sourceProgress.passes >= 2);
      assert.ok((report.sourceProgress.downtimeMs ?? -1) >= 0);
      assert.deepEqual(report.destinationProgress.addresses, []);
    });
  });

  it("in post-copy mode lets the destination run before it completes", async () => {
    await withBarePair(async (pair) => {
      const report = await migrateByTheBook(pair, "post-copy");
      const statuses = pair.source
        .eventNames()
        .filter((name) => name !== "migrationPassed" && name !== "stop");
      assert.deepEqual(
        statuses.filter((name) => name !== "postcopy-device"),
        ["setup", "active", "postcopy-active", "completed"],
      );
      assert.deepEqual(pair.destination.eventNames(), [
        ...["setup", "active", "postcopy-active", "resume", "completed"],
      ]);
      assert.equal(report.transferring.status, "active");
      assert.ok(report.transferring.remainingBytes > 0);
      assert.equal(report.readyStatus.runState, "paused");
      assert.equal(report.sourceStatus.runState, "postmigrate");
      assert.equal(report.destinationStatus.runState, "running");
    });
  });

  it("of a guest that its owner paused brings no stop, and leaves it paused on the destination", async () => {
    await withBarePair(async (pair) => {
      const { source, destination } = pair;
      await source.vmm.stop();
      await startTransfer(pair, "live");
      await source.eventAt(isStatus("completed"));
      assert.equal((await destinationReady(pair, "live")).runState, "paused");
      assert.deepEqual(
        source.eventNames().filter((name) => name !== "migrationPassed"),
        ["stop", "setup", "active", "completed"],
      );
      assert.equal(destination.eventNames().includes("resume"), false);
    });
  });

  it("that has completed can be taken back: cont runs the source again", async () => {
    await withBarePair(async (pair) => {
      const { source, destination } = pair;
      await startTransfer(pair, "live");
      assert.equal((await destinationReady(pair, "live")).runState, "paused");
      await destination.vmm.quit();
      assert.equal((await statusAfter(source, "finish-migrate")).runState, "postmigrate");
      await source.vmm.cont();
      await source.eventAt(isKind("resume"));
      assert.equal((await source.vmm.queryStatus()).runState, "running");
    });
  });

  it("fails without a stop when the destination dies while memory is still on its way", async () => {
    await withBarePair(async (pair) => {
      const { source, destination } = pair;
      await startTransfer(pair, "post-copy");
      await destination.process.kill();
      await source.eventAt(isStatus("failed"));
      await destination.eventAt(isKind("disconnected"));
      assert.equal((await source.vmm.queryStatus()).running, true);
      assert.notEqual((await source.vmm.queryMigrate()).errorDesc, undefined);
      assert.equal(source.eventNames().includes("stop"), false);
    });
  });

  it("is cancelled without a stop while memory is still on its way", async () => {
    await withBarePair(async (pair) => {
      await startTransfer(pair, "post-copy");
      await pair.source.vmm.migrateCancel();
      await pair.source.eventAt(isStatus("cancelled"));
      assert.equal((await pair.source.vmm.queryStatus()).running, true);
      assert.equal(pair.source.eventNames().includes("stop"), false);
      assert.equal((await pair.source.vmm.queryMigrate()).status, "cancelled");
    });
  });

  it("in post-copy can be paused and recovered by out-of-band commands", async () => {
    await withBarePair(async (pair) => {
      const { source, destination } = pair;
      await reachPostCopy(pair);
      await source.vmm.migratePause();
      await source.eventAt(isStatus("postcopy-paused"));
      await destination.eventAt(isStatus("postcopy-paused"));
      assert.equal((await source.vmm.queryStatus()).running, false);
      const recoveryPath = `${destination.qmpPath}-recovery`;
      await destination.vmm.migrateRecover(`unix:${recoveryPath}`);
      await source.vmm.setMigrationParameters({ maxPostcopyBandwidthBytesPerSecond: 0 });
      await source.vmm.migrateResume(`unix:${recoveryPath}`);
      await Promise.all([source.eventAt(isStatus("completed")), destination.eventAt(isStatus("completed"))]);
      assert.equal((await destination.vmm.queryStatus()).running, true);
      assert.equal((await source.vmm.queryStatus()).running, false);
    });
  });
});
