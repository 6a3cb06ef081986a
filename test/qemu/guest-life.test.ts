import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { pollUntil } from "../lab/deadline.ts";
import { skipWithout } from "../resource.ts";
import { HostLife, RUNS, stands } from "./host-life.ts";
import type { TinyGuest } from "./tiny-guest.ts";

const options = { skip: skipWithout("root", "qemu"), timeout: 60_000 };
const GUEST = { guestId: "web", instanceId: "" };

async function runStateIs(guest: TinyGuest, expected: string): Promise<void> {
  const isSo = async () => {
    const { status } = (await guest.order("query-status")) as { readonly status: string };
    return status === expected || undefined;
  };
  await pollUntil(isSo, 10_000, `The run state ${expected}`);
}

/** Saves the guest as its owner does it: no agent is asked. */
async function save(guest: TinyGuest, path: string): Promise<void> {
  await guest.order("migrate", { uri: `exec:cat > ${path}` });
  await runStateIs(guest, "postmigrate");
}

describe("a guest's life on one host", options, () => {
  it("first boot: nothing is registered before StartCpus, and all is when the CPUs run", () =>
    HostLife.with(async (life) => {
      await life.boot("a1", "held");
      assert.equal(await life.now(), stands("prelaunch"));
      await life.start();
      assert.equal(await life.now(), RUNS);
      assert.deepEqual(await life.toldUntil("cpusStarted"), ["nicsRegistered", "cpusStarted"]);
    }));

  it("pause and resume by its owner: deregistered at STOP, the reason told; registered at RESUME", () =>
    HostLife.with(async (life) => {
      const guest = await life.run();
      await guest.order("stop");
      await life.becomes(stands("paused"));
      assert.deepEqual(await life.toldUntil("stopExplained paused QUARANTINED"), [
        "cpusStopped",
        "nicsDeregistered",
        "stopExplained paused QUARANTINED",
      ]);
      await guest.order("cont");
      await life.becomes(RUNS);
      const told = await life.toldUntil("nicsRegistered");
      assert.deepEqual(told, ["cpusStarted", "alarmRaised RESUMED_OUTSIDE_GATE", "nicsRegistered"]);
    }));

  it("StopCpus and StartCpus: registered before the CPUs run, each done once", () =>
    HostLife.with(async (life) => {
      await life.run();
      assert.equal((await life.agent.stopCpus(GUEST)).applied, Applied.CHANGED);
      await life.becomes(stands("paused"));
      assert.equal((await life.agent.stopCpus(GUEST)).applied, Applied.ALREADY_SO);
      await life.toldUntil("stopExplained paused QUARANTINED");
      assert.equal((await life.agent.startCpus(GUEST)).applied, Applied.CHANGED);
      assert.equal(await life.now(), RUNS);
      assert.deepEqual(await life.toldUntil("cpusStarted"), ["nicsRegistered", "cpusStarted"]);
      assert.equal((await life.agent.startCpus(GUEST)).applied, Applied.ALREADY_SO);
    }));

  it("save to a file by its owner: deregistered until it goes on", () =>
    HostLife.with(async (life) => {
      const guest = await life.run();
      await save(guest, life.folder.savePath);
      await life.becomes(stands("postmigrate"));
      const [stopped, ...told] = await life.toldUntil("stopExplained postmigrate QUARANTINED");
      assert.deepEqual([stopped, told.at(0)], ["cpusStopped", "nicsDeregistered"]);
      await guest.order("cont");
      await life.becomes(RUNS);
    }));

  it("restore from a file by its owner: refused until it is loaded, then started like a first boot", () =>
    HostLife.with(async (life) => {
      const saved = await life.run();
      await save(saved, life.folder.savePath);
      await saved.order("quit");
      await life.becomes(stands("gone"));
      const guest = await life.boot("a2", "incoming");
      assert.equal(await life.now(), stands("inmigrate"));
      await assert.rejects(life.start("a2"), { code: "FAILED_PRECONDITION", reason: "NOT_OWNER" });
      await guest.order("migrate-incoming", { uri: `exec:cat ${life.folder.savePath}` });
      await runStateIs(guest, "paused");
      assert.match(await life.now(), /^no entry, QUARANTINED, STOPPED/);
      await life.toldUntil("vmmLost");
      await life.start("a2");
      assert.equal(await life.now(), RUNS);
      const told = await life.toldUntil("cpusStarted");
      assert.deepEqual(told.slice(-2), ["nicsRegistered", "cpusStarted"]);
      guest.does("panic");
      await life.becomes(stands("guest-panicked"));
    }));

  it("reset, by itself and by its owner: its CPUs go on, and so does its registration", () =>
    HostLife.with(async (life) => {
      const guest = await life.run();
      await guest.order("system_reset");
      assert.deepEqual(await life.toldUntil("vmmReported RESET host-qmp-system-reset"), [
        "vmmReported RESET host-qmp-system-reset",
      ]);
      await guest.isUp();
      guest.does("reset");
      const told = await life.toldUntil("vmmReported RESET guest-reset");
      assert.deepEqual(new Set(told), new Set(["vmmReported RESET guest-reset"]));
      assert.equal(await life.now(), RUNS);
    }));

  for (const [name, cause, more, end] of [
    ["powered off by its button", "guest-shutdown", [], (guest) => guest.order("system_powerdown")],
    ["reset, where QEMU is to end with that", "guest-reset", ["-no-reboot"], (guest) => guest.does("reset")],
    ["ended by its owner", "host-qmp-quit", [], (guest) => guest.order("quit")],
  ] as const satisfies readonly (readonly [
    string,
    string,
    readonly string[],
    (guest: TinyGuest) => unknown,
  ])[]) {
    it(`shutdown: deregistered when its QEMU is gone, the cause told: ${name}`, () =>
      HostLife.with(async (life) => {
        const guest = await life.run(more);
        await end(guest);
        await guest.waitForExit();
        await life.becomes(stands("gone"));
        const told = await life.toldUntil("vmmLost");
        // A QEMU that ends may not get to say all that it had to.
        const causes = told.filter((word) => word.startsWith("vmmReported SHUTDOWN"));
        assert.ok(
          causes.every((word) => word === `vmmReported SHUTDOWN ${cause}`),
          told.join(", "),
        );
      }));
  }

  it("shutdown of one whose QEMU stays: deregistered, not started before it is reset, then started", () =>
    HostLife.with(async (life) => {
      const guest = await life.run(["-no-shutdown"]);
      await guest.order("system_powerdown");
      await life.becomes(stands("shutdown"));
      assert.deepEqual(await life.toldUntil("stopExplained shutdown QUARANTINED"), [
        "vmmReported POWERDOWN",
        "vmmReported SHUTDOWN guest-shutdown",
        "cpusStopped",
        "nicsDeregistered",
        "stopExplained shutdown QUARANTINED",
      ]);
      await assert.rejects(life.start(), { code: "ABORTED", reason: "START_REFUSED" });
      await life.becomes(stands("shutdown"));
      await guest.order("system_reset");
      await life.becomes(stands("prelaunch"));
      await life.start();
      assert.equal(await life.now(), RUNS);
    }));

  for (const [event, runState, report] of [
    ["panic", "guest-panicked", "vmmReported GUEST_PANICKED pause"],
    ["watchdog", "watchdog", "vmmReported WATCHDOG pause"],
    ["write", "io-error", "vmmReported BLOCK_IO_ERROR No space left on device stop disk0"],
  ] as const) {
    it(`${runState}: deregistered at STOP, what happened and the reason told; started again through the gate`, () =>
      HostLife.with(async (life) => {
        const guest = await life.run();
        guest.does(event);
        await life.becomes(stands(runState));
        assert.deepEqual(await life.toldUntil(`stopExplained ${runState} QUARANTINED`), [
          report,
          "cpusStopped",
          "nicsDeregistered",
          `stopExplained ${runState} QUARANTINED`,
        ]);
        await life.start();
        assert.equal(await life.now(), RUNS);
        await guest.isUp();
      }));
  }

  it("suspended by itself: deregistered, though no STOP says so; registered when it is woken, with no alarm", () =>
    HostLife.with(async (life) => {
      const guest = await life.run();
      guest.does("suspend");
      await life.becomes(stands("suspended"));
      assert.deepEqual(await life.toldUntil("stopExplained suspended QUARANTINED"), [
        "cpusStopped",
        "nicsDeregistered",
        "stopExplained suspended QUARANTINED",
      ]);
      await guest.order("system_wakeup");
      await life.becomes(RUNS);
      assert.deepEqual(await life.toldUntil("nicsRegistered"), ["cpusStarted", "nicsRegistered"]);
    }));
});

describe("a guest that may stay registered while it is paused or has an I/O error", options, () => {
  const PAUSES = ["paused", "io-error"];

  it("does, and goes on without an alarm", () =>
    HostLife.with(async (life) => {
      const guest = await life.run();
      await guest.order("stop");
      await life.becomes(stands("paused", "REGISTERED"));
      assert.deepEqual(await life.toldUntil("stopExplained paused REGISTERED"), [
        "cpusStopped",
        "stopExplained paused REGISTERED",
      ]);
      await guest.order("cont");
      await life.becomes(RUNS);
      assert.deepEqual(await life.toldUntil("cpusStarted"), ["cpusStarted"]);
      guest.does("write");
      await life.becomes(stands("io-error", "REGISTERED"));
      await life.start();
      assert.equal(await life.now(), RUNS);
    }, PAUSES));

  it("is deregistered for every other reason, and while it is saved", () =>
    HostLife.with(async (life) => {
      const guest = await life.run();
      guest.does("panic");
      await life.becomes(stands("guest-panicked"));
      await life.start();
      await save(guest, life.folder.savePath);
      await life.becomes(stands("postmigrate"));
    }, PAUSES));

  it("is deregistered when it is handed off, before the word", () =>
    HostLife.with(async (life) => {
      const guest = await life.run();
      await guest.order("stop");
      await life.becomes(stands("paused", "REGISTERED"));
      const source = { guestId: "web", instanceId: "a1", fence: { epoch: 1n, revision: 1n } };
      const migration = { migrationId: "web-mk3v0q8ya1z9", destinationHostId: "hb" };
      await life.agent.armSource({
        ...{ ...source, ...migration, mode: MigrationMode.LIVE, transfer: undefined },
      });
      assert.equal(await life.now(), stands("paused", "REGISTERED"));
      await life.toldUntil("stopExplained paused REGISTERED");
      const incomingUri = await life.listenElsewhere();
      await life.agent.beginTransfer({ ...source, incomingUri });
      const told = await life.toldUntil("handedOff");
      assert.deepEqual(told.slice(-3), ["transferStatusChanged", "nicsDeregistered", "handedOff"]);
      assert.match(await life.now(), /^no entry, QUARANTINED, STOPPED/);
    }, PAUSES));

  it("is deregistered by StopCpus, running or paused", () =>
    HostLife.with(async (life) => {
      const guest = await life.run();
      await life.agent.stopCpus(GUEST);
      assert.equal(await life.now(), stands("paused"));
      await life.start();
      await guest.order("stop");
      await life.becomes(stands("paused", "REGISTERED"));
      await life.agent.stopCpus(GUEST);
      assert.equal(await life.now(), stands("paused"));
    }, PAUSES));
});
