/** A guest whose VMM its owner drives: the same gate, by RPC alone. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import { Applied, CpuState, RightToRun } from "../../proto/gen/switchover/v1/guest.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { ENTRY, OwnersHost } from "./external-owner.ts";
import { FENCE, GUEST, handOff } from "./guest-gate.ts";

const { RUNNING, STOPPED, UNSPECIFIED } = CpuState;

async function hostOf(cpuState: CpuState, runState = "", name = "ha"): Promise<OwnersHost> {
  const host = new OwnersHost(name);
  await host.adopt(cpuState, runState);
  return host;
}

/** A source that runs its guest and was told to begin the transfer. */
async function sourceOf(mode: MigrationMode = MigrationMode.LIVE): Promise<OwnersHost> {
  const host = await hostOf(RUNNING);
  await host.armed(mode);
  await host.running({ transferStatus: "active" });
  return host;
}

/** A source that has handed its guest off. */
async function formerSource(): Promise<OwnersHost> {
  const host = await sourceOf();
  await host.stopped();
  await host.stopped({ transferStatus: "completed" });
  return host;
}

async function destinationOf(mode: MigrationMode = MigrationMode.LIVE): Promise<OwnersHost> {
  const host = await hostOf(STOPPED, "inmigrate", "hb");
  assert.equal(await host.prepared(mode), "");
  return host;
}

function deliver(host: OwnersHost, runState = "running") {
  return host.agent.deliverHandOff({ ...host.command(), handOff: handOff({ runState }) });
}

async function rightOf(host: OwnersHost): Promise<RightToRun | undefined> {
  return (await host.agent.getGuest({ guestId: GUEST })).instances[0]?.rightToRun;
}

describe("the first boot of a guest whose owner drives its VMM", () => {
  it("registers before it permits the start, and knows that it runs when it is told", async () => {
    const host = await hostOf(STOPPED, "prelaunch");
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
    const { applied, instance } = await host.agent.startCpus(host.target);
    assert.equal(applied, Applied.CHANGED);
    assert.equal(instance?.cpuState, STOPPED);
    assert.deepEqual(await host.state(), { demands: ["START_CPUS"], entries: ENTRY });
    const started = await host.running();
    assert.equal(started.applied, Applied.CHANGED);
    assert.equal(started.instance?.cpuState, RUNNING);
    assert.deepEqual(await host.state(), { demands: [], entries: ENTRY });
    assert.equal((await host.running()).applied, Applied.ALREADY_SO);
    assert.equal((await host.agent.startCpus(host.target)).applied, Applied.ALREADY_SO);
  });

  it("is permitted of a guest that came or went only where its owner says that it runs nowhere else", async () => {
    for (const transferStatus of ["completed", "postcopy-paused"]) {
      const host = new OwnersHost("hb");
      await host.adopt(STOPPED, "paused", "", transferStatus);
      assert.equal(await rightOf(host), RightToRun.AWAITED);
      const forgotten = { code: "FAILED_PRECONDITION", reason: "WORD_FORGOTTEN" };
      await assert.rejects(host.agent.startCpus(host.target), forgotten);
      host.restart();
      await host.agent.restored;
      await assert.rejects(host.agent.startCpus(host.target), forgotten);
      await host.agent.startCpus({ ...host.target, runsNowhereElse: true });
      assert.deepEqual(await host.state(), { demands: ["START_CPUS"], entries: ENTRY });
    }
  });

  it("permits none that cannot be registered", async () => {
    const host = await hostOf(STOPPED, "prelaunch");
    host.kernel.remove("web0");
    await assert.rejects(host.agent.startCpus(host.target), { code: "ABORTED", reason: "START_REFUSED" });
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
  });

  it("takes the permission back where it is not used, and where the owner refuses it", async () => {
    const host = await hostOf(STOPPED, "prelaunch");
    await host.agent.startCpus(host.target);
    await host.pass(10_000);
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
    await host.agent.startCpus(host.target);
    await host.stopped({ startRefusal: "The disk is locked." });
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
    await host.agent.startCpus(host.target);
    await host.agent.stopCpus(host.target);
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
    assert.deepEqual(await host.alarms(), ["CONT_REFUSED", "CONT_REFUSED"]);
  });

  it("registers one that starts without asking, and says so", async () => {
    const host = await hostOf(STOPPED, "prelaunch");
    await host.running();
    assert.equal(host.kernel.renderEntries(), ENTRY);
    assert.deepEqual(await host.alarms(), ["RESUMED_OUTSIDE_GATE"]);
  });
});

describe("an owner's order to start", () => {
  it("waits for the calls before it, and holds up none behind it", async () => {
    const host = new OwnersHost("hb");
    await host.prepareNics();
    const externalCpuSource = {
      cpuState: STOPPED,
      runState: "inmigrate",
      incomingUri: "",
      transferStatus: "",
    };
    const adopted = host.agent.adoptGuest({ ...host.target, qmpPath: "", externalCpuSource });
    const started = host.agent.startCpus(host.target);
    await adopted;
    await host.prepared();
    await host.stopped({ transferStatus: "completed" });
    await deliver(host);
    assert.equal((await started).applied, Applied.CHANGED);
  });

  it("is answered after 30 s without a guest, and may be given again", async () => {
    const host = await destinationOf();
    const started = host.agent.startCpus(host.target);
    const waited = assert.rejects(started, { code: "DEADLINE_EXCEEDED", reason: "STILL_WAITING" });
    await host.pass(30_000);
    await waited;
  });
});

describe("a stop that the owner tells", () => {
  it("is answered when the guest is deregistered, by either call", async () => {
    const host = await hostOf(RUNNING);
    assert.equal(host.kernel.renderEntries(), ENTRY);
    const { instance } = await host.stopped({ runState: "io-error" });
    assert.equal(instance?.runState, "io-error");
    assert.equal(host.kernel.renderEntries(), "");
    await host.running();
    assert.equal(host.kernel.renderEntries(), ENTRY);
    const stopped = await host.agent.stopCpus(host.target);
    assert.equal(stopped.instance?.runState, "paused");
    assert.equal(host.kernel.renderEntries(), "");
  });

  it("changes nothing where a later report overtook it", async () => {
    const host = await hostOf(RUNNING);
    const now = BigInt(host.clock.unixUs());
    await host.running({ observedAtUnixUs: now - 10n });
    const late = await host.stopped({ observedAtUnixUs: now - 20n });
    assert.equal(late.applied, Applied.ALREADY_SO);
    assert.equal(host.kernel.renderEntries(), ENTRY);
    await host.stopped({ observedAtUnixUs: now - 5n });
    assert.equal(host.kernel.renderEntries(), "");
  });

  it("deregisters also where the journal does not take it, and is to be told again", async () => {
    const host = await hostOf(RUNNING);
    const { write } = host.journals;
    host.journals.write = () => {
      throw new SwitchoverError("UNAVAILABLE", "Full.", { reason: "JOURNAL_UNWRITABLE" });
    };
    await assert.rejects(host.stopped(), { code: "UNAVAILABLE", reason: "JOURNAL_UNWRITABLE" });
    assert.equal(host.kernel.renderEntries(), "");
    host.journals.write = write;
    await host.stopped();
    host.restart();
    assert.equal(host.kernel.renderEntries(), "");
  });
});

describe("a source whose owner drives its VMM", () => {
  it("demands the transfer once it is armed, and hands off when it cannot fail back", async () => {
    const host = await hostOf(RUNNING);
    await host.armed();
    assert.deepEqual((await host.state()).demands, ["BEGIN_TRANSFER"]);
    await host.running({ transferStatus: "active" });
    assert.deepEqual(await host.state(), { demands: [], entries: ENTRY });
    await host.stopped();
    assert.equal(host.kernel.renderEntries(), "");
    assert.equal(host.words.length, 0);
    await host.stopped({ transferStatus: "completed" });
    assert.deepEqual(
      host.words.map(({ runState }) => runState),
      ["running"],
    );
    assert.equal(await rightOf(host), RightToRun.HANDED_OFF);
  });

  it("is not armed while it may start its guest, and armed once that permission is void", async () => {
    const host = await hostOf(STOPPED, "paused");
    await host.agent.startCpus(host.target);
    await assert.rejects(host.armed(), { code: "UNAVAILABLE", reason: "RUN_STATE_UNSETTLED" });
    assert.deepEqual(await host.state(), { demands: ["START_CPUS"], entries: ENTRY });
    await host.pass(10_000);
    assert.deepEqual(await host.alarms(), ["CONT_REFUSED"]);
    await host.armed();
    assert.deepEqual(await host.state(), { demands: ["BEGIN_TRANSFER"], entries: "" });
    await host.stopped({ transferStatus: "completed" });
    assert.deepEqual(
      host.words.map(({ runState }) => runState),
      ["paused"],
    );
  });

  it("hands a guest off as paused where its owner paused it meanwhile", async () => {
    const host = await sourceOf();
    await host.stopped({ runState: "paused" });
    await host.stopped({ transferStatus: "completed" });
    assert.deepEqual(
      host.words.map(({ runState }) => runState),
      ["paused"],
    );
  });

  it("in post-copy hands off at the statement that comes with or after the stop, and not before", async () => {
    const stated = { transferStatus: "postcopy-active" };
    for (const [stop, words] of [
      [[{}], 0],
      [[{}, stated], 1],
      [[stated], 1],
    ] as const) {
      const host = await sourceOf(MigrationMode.POST_COPY);
      const asked = host.agent.switchToPostCopy(host.command());
      await host.pass(50);
      assert.deepEqual((await host.state()).demands, ["SWITCH_TO_POST_COPY"]);
      await host.pass(50);
      await asked;
      await host.running({ transferStatus: "postcopy-active" });
      assert.deepEqual(await host.state(), { demands: [], entries: ENTRY });
      for (const told of stop) await host.stopped(told);
      assert.equal(host.kernel.renderEntries(), "");
      assert.equal(host.words.length, words);
    }
  });

  it("does not switch to post-copy once the transfer is to be given up", async () => {
    const host = await sourceOf(MigrationMode.POST_COPY);
    const cancelled = assert.rejects(host.agent.cancelTransfer(host.command()), { reason: "STILL_WAITING" });
    await host.pass(5_000);
    await cancelled;
    const refused = { code: "FAILED_PRECONDITION", reason: "ENDING" };
    await assert.rejects(host.agent.switchToPostCopy(host.command()), refused);
    assert.deepEqual((await host.state()).demands, ["CANCEL_TRANSFER"]);
  });

  it("keeps its guest when the transfer is cancelled, before it stopped and after", async () => {
    for (const stops of [false, true]) {
      const host = await sourceOf();
      if (stops) await host.stopped();
      const cancelled = host.agent.cancelTransfer(host.command());
      await host.pass(50);
      assert.deepEqual((await host.state()).demands, ["CANCEL_TRANSFER"]);
      await host.report(stops ? STOPPED : RUNNING, { transferStatus: "cancelled" });
      const { answer } = await cancelled;
      assert.equal(answer?.$case, "kept");
      const resumed = host.agent.resumeSource({ ...host.command(), runState: "running" });
      await host.pass(50);
      assert.deepEqual(await host.state(), { demands: stops ? ["START_CPUS"] : [], entries: ENTRY });
      await host.running();
      assert.equal((await resumed).runState, "running");
      assert.deepEqual(await host.state(), { demands: [], entries: ENTRY });
    }
  });

  it("does not call a transfer cancelled that its owner may have begun and not told of", async () => {
    for (const restarts of [false, true]) {
      const host = await hostOf(RUNNING);
      await host.armed();
      if (restarts) host.restart();
      const cancelled = host.agent.cancelTransfer(host.command());
      await host.pass(500);
      assert.ok(!host.said().includes("kept"));
      await host.running({ transferStatus: "cancelled" });
      assert.equal((await cancelled).answer?.$case, "kept");
    }
  });

  it("takes its guest back under a higher epoch, registered before it is to start", async () => {
    const host = await formerSource();
    const higher = { epoch: FENCE.epoch + 1n, revision: 1n };
    const resumed = host.agent.resumeSource({ ...host.command(higher), runState: "running" });
    await host.pass(50);
    assert.deepEqual(await host.state(), { demands: ["START_CPUS"], entries: ENTRY });
    await host.running();
    assert.equal((await resumed).runState, "running");
  });

  it("takes back no guest that it is to stop before that has stopped, and has it run again then", async () => {
    const host = await formerSource();
    await host.running();
    const higher = { epoch: FENCE.epoch + 1n, revision: 1n };
    const resume = () => host.agent.resumeSource({ ...host.command(higher), runState: "running" });
    const waited = assert.rejects(resume(), { code: "DEADLINE_EXCEEDED", reason: "STILL_WAITING" });
    await host.pass(3_000);
    await waited;
    const resumed = resume();
    await host.pass(1_000);
    assert.ok(!host.said().includes("retaken"));
    assert.deepEqual(await host.state(), { demands: ["STOP_CPUS"], entries: "" });
    await host.stopped();
    await host.pass(50);
    assert.deepEqual(await host.state(), { demands: ["START_CPUS"], entries: ENTRY });
    await host.running();
    assert.equal((await resumed).runState, "running");
    assert.deepEqual(await host.state(), { demands: [], entries: ENTRY });
  });

  it("in post-copy takes it back once the transfer is cancelled, and declines where it cannot be", async () => {
    for (const isCancelled of [true, false]) {
      const host = await sourceOf(MigrationMode.POST_COPY);
      await host.stopped({ transferStatus: "postcopy-active" });
      const higher = { epoch: FENCE.epoch + 1n, revision: 1n };
      const resumed = host.agent.resumeSource({ ...host.command(higher), runState: "running" });
      await host.pass(50);
      assert.deepEqual(await host.state(), { demands: ["CANCEL_TRANSFER"], entries: "" });
      if (!isCancelled) {
        const declined = assert.rejects(resumed, { reason: "NO_WAY_BACK" });
        await host.pass(3_000);
        await declined;
        assert.ok(host.said().includes("declined"));
        continue;
      }
      await host.stopped({ transferStatus: "cancelled" });
      await host.pass(100);
      assert.deepEqual(await host.state(), { demands: ["START_CPUS"], entries: ENTRY });
      await host.running();
      assert.equal((await resumed).runState, "running");
    }
  });

  it("is asked to pause and to recover a transfer in post-copy, until it says that it did", async () => {
    const host = await sourceOf(MigrationMode.POST_COPY);
    await host.stopped({ transferStatus: "postcopy-active" });
    await host.agent.pauseMigration(host.command());
    assert.deepEqual((await host.state()).demands, ["PAUSE_TRANSFER"]);
    await host.stopped({ transferStatus: "postcopy-paused" });
    assert.deepEqual((await host.state()).demands, []);
    const recovery = { ...host.command(), recoveryUri: "" };
    assert.equal((await host.agent.recoverMigration(recovery)).applied, Applied.CHANGED);
    assert.deepEqual((await host.state()).demands, ["RECOVER_TRANSFER"]);
    await host.stopped({ transferStatus: "postcopy-recover" });
    assert.equal((await host.agent.recoverMigration(recovery)).applied, Applied.ALREADY_SO);
    await host.stopped({ transferStatus: "postcopy-active" });
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
  });

  it("is told to stop CPUs that run after the hand-off, and registers nothing for them", async () => {
    const host = await formerSource();
    const { instance } = await host.running();
    assert.equal(instance?.rightToRun, RightToRun.HANDED_OFF);
    assert.deepEqual(await host.state(), { demands: ["STOP_CPUS"], entries: "" });
    assert.ok((await host.alarms()).includes("RAN_WITHOUT_RIGHT"));
    await host.stopped();
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
    await assert.rejects(host.agent.startCpus(host.target), { reason: "NOT_OWNER" });
  });

  it("gives the word where its VMM ended after a live switchover's stop, and never where it ran", async () => {
    for (const [stops, words] of [
      [true, 1],
      [false, 0],
    ] as const) {
      const host = await sourceOf();
      if (stops) await host.stopped();
      await host.stopped({ runState: "gone" });
      assert.equal(host.words.length, words);
      assert.equal(host.kernel.renderEntries(), "");
    }
  });
});

describe("a destination whose owner drives its VMM", () => {
  it("may start once guest and word are both there, whichever comes first", async () => {
    for (const order of ["word first", "guest first"]) {
      const host = await destinationOf();
      const started = host.agent.startCpus(host.target);
      if (order === "word first") await deliver(host);
      await host.stopped({ transferStatus: "active" });
      assert.deepEqual(await host.state(), { demands: [], entries: "" });
      await host.stopped({ runState: "paused", transferStatus: "completed" });
      if (order === "guest first") await deliver(host);
      assert.equal((await started).applied, Applied.CHANGED);
      assert.deepEqual(await host.state(), { demands: ["START_CPUS"], entries: ENTRY });
      assert.ok(host.said().includes("contSent"));
      await host.running();
      assert.deepEqual(await host.state(), { demands: [], entries: ENTRY });
      assert.equal(await rightOf(host), RightToRun.HELD);
    }
  });

  it("in post-copy is not registered before its guest can start", async () => {
    const host = await destinationOf(MigrationMode.POST_COPY);
    await host.stopped({ transferStatus: "postcopy-active" });
    await deliver(host);
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
    await host.stopped({ runState: "paused" });
    assert.deepEqual(await host.state(), { demands: ["START_CPUS"], entries: ENTRY });
    await host.running();
    await host.running({ transferStatus: "completed" });
    assert.equal(host.kernel.renderEntries(), ENTRY);
  });

  it("is not to start a guest that its owner had paused", async () => {
    const host = await destinationOf();
    const started = host.agent.startCpus(host.target);
    const refused = assert.rejects(started, { code: "FAILED_PRECONDITION", reason: "TAKEN_OVER_PAUSED" });
    await host.stopped({ transferStatus: "completed" });
    await deliver(host, "paused");
    await refused;
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
    await host.agent.startCpus(host.target);
    assert.deepEqual(await host.state(), { demands: ["START_CPUS"], entries: ENTRY });
  });

  it("hands back a guest whose start its owner refuses, however late, and is to end", async () => {
    for (const afterMs of [0, 30_000]) {
      const host = await destinationOf();
      await host.stopped({ transferStatus: "completed" });
      await deliver(host);
      await host.pass(afterMs);
      assert.deepEqual(await host.state(), { demands: ["START_CPUS"], entries: ENTRY });
      const refusal = { startRefusal: "The disk is locked." };
      assert.equal((await host.stopped(refusal)).applied, Applied.CHANGED);
      assert.deepEqual(await host.state(), { demands: ["END_VMM"], entries: "" });
      assert.equal(await rightOf(host), RightToRun.HANDED_BACK);
      assert.equal((await host.stopped(refusal)).applied, Applied.ALREADY_SO);
      await host.stopped({ runState: "gone" });
      assert.deepEqual((await host.state()).demands, []);
    }
  });

  it("keeps a guest that ran, whatever its owner says of a start that was long demanded", async () => {
    const host = await destinationOf();
    await host.stopped({ transferStatus: "completed" });
    await deliver(host);
    await host.pass(30_000);
    await host.running();
    await host.stopped();
    const { applied } = await host.stopped({ startRefusal: "The disk is locked." });
    assert.equal(applied, Applied.ALREADY_SO);
    assert.equal(await rightOf(host), RightToRun.HELD);
  });

  it("hands back a guest that it could not load, or whose VMM ended", async () => {
    for (const told of [{ transferStatus: "failed" }, { runState: "gone" }]) {
      const host = await destinationOf();
      await host.stopped(told);
      assert.equal(await rightOf(host), RightToRun.HANDED_BACK);
    }
  });

  it("is told to stop CPUs that ran before their start was ordered, and is not registered", async () => {
    const host = await destinationOf();
    await host.running();
    assert.deepEqual(await host.state(), { demands: ["STOP_CPUS"], entries: "" });
    await host.stopped({ runState: "paused" });
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
  });

  it("releases its devices with its VMM when it is aborted", async () => {
    const host = await destinationOf();
    const aborted = host.agent.abortDestination(host.command());
    await host.pass(50);
    assert.deepEqual((await host.state()).demands, ["END_VMM"]);
    await host.stopped({ runState: "gone" });
    await aborted;
    assert.equal(host.kernel.link("web0"), undefined);
    await assert.rejects(host.stopped({ runState: "gone" }), { code: "NOT_FOUND" });
  });
});

describe("an agent that comes back to a guest whose owner drives its VMM", () => {
  it("keeps a running one registered, and a stopped one deregistered", async () => {
    const host = await hostOf(RUNNING);
    host.restart();
    assert.deepEqual(await host.state(), { demands: [], entries: ENTRY });
    await host.stopped();
    host.restart();
    assert.deepEqual(await host.state(), { demands: [], entries: "" });
  });

  it("goes on where it stood, on either side", async () => {
    const source = await hostOf(RUNNING);
    await source.armed();
    source.restart();
    assert.deepEqual((await source.state()).demands, ["BEGIN_TRANSFER"]);
    await source.running({ transferStatus: "active" });
    await source.stopped();
    source.restart();
    await source.stopped({ transferStatus: "completed" });
    assert.equal(source.words.length, 1);

    const destination = await destinationOf();
    destination.restart();
    await destination.stopped({ transferStatus: "completed" });
    destination.restart();
    await deliver(destination);
    assert.deepEqual(await destination.state(), { demands: ["START_CPUS"], entries: ENTRY });
    destination.restart();
    await destination.pass(50);
    assert.deepEqual(await destination.state(), { demands: ["START_CPUS"], entries: ENTRY });
    await destination.running();
    assert.deepEqual(await destination.state(), { demands: [], entries: ENTRY });
  });

  it("tells both owners where the transfer goes, as it did before", async () => {
    const uri = "tcp:10.0.0.2:40123";
    const destination = new OwnersHost("hb");
    await destination.adopt(STOPPED, "inmigrate", uri);
    destination.restart();
    assert.equal(await destination.prepared(), uri);
    const source = await hostOf(RUNNING);
    await source.armed(MigrationMode.LIVE, uri);
    source.restart();
    const { instances } = await source.agent.getGuest({ guestId: GUEST });
    assert.equal(instances[0]?.transferUri, uri);
  });

  it("knows that no VMM outlives its host's boot", async () => {
    const host = await hostOf(RUNNING);
    host.restart({ bootId: "boot-2" });
    assert.equal(host.kernel.renderEntries(), "");
    await assert.rejects(host.running(), { reason: "VMM_LOST" });
  });
});

describe("a report", () => {
  it("is refused for a VMM that the agent drives, and hears of itself", async () => {
    const host = new OwnersHost("ha");
    await host.prepareNics();
    await host.agent.adoptGuest({ ...host.target, qmpPath: "/qmp", externalCpuSource: undefined });
    await assert.rejects(host.stopped(), { code: "FAILED_PRECONDITION", reason: "VMM_DRIVEN" });
    assert.equal(host.kernel.renderEntries(), ENTRY);
  });
});

describe("what an owner says that cannot be so", () => {
  it("is refused by its field, and changes nothing", async () => {
    const host = await hostOf(RUNNING);
    for (const [field, told] of [
      ["cpu_state", { cpuState: UNSPECIFIED }],
      ["run_state", { runState: "paused" }],
      ["run_state", { cpuState: STOPPED, runState: "running" }],
      ["run_state", { cpuState: STOPPED, runState: "a b" }],
      ["transfer_status", { transferStatus: "nearly" }],
      ["start_refusal", { startRefusal: "No." }],
      ["observed_at_unix_us", { observedAtUnixUs: -1n }],
    ] as const) {
      await assert.rejects(host.running(told), { code: "INVALID_ARGUMENT", field });
    }
    assert.deepEqual(await host.state(), { demands: [], entries: ENTRY });
  });

  it("is one CPU source, and one only", async () => {
    const host = new OwnersHost("ha");
    const external = { cpuState: STOPPED, runState: "", incomingUri: "", transferStatus: "" };
    for (const [field, sources] of [
      ["qmp_path", { qmpPath: "", externalCpuSource: undefined }],
      ["external_cpu_source", { qmpPath: "/qmp", externalCpuSource: external }],
      [
        "external_cpu_source.cpu_state",
        { qmpPath: "", externalCpuSource: { ...external, cpuState: UNSPECIFIED } },
      ],
      [
        "external_cpu_source.run_state",
        { qmpPath: "", externalCpuSource: { ...external, runState: "gone" } },
      ],
      [
        "external_cpu_source.incoming_uri",
        { qmpPath: "", externalCpuSource: { ...external, incomingUri: "exec:rm" } },
      ],
      [
        "external_cpu_source.transfer_status",
        { qmpPath: "", externalCpuSource: { ...external, transferStatus: "nearly" } },
      ],
    ] as const) {
      const adopting = host.agent.adoptGuest({ ...host.target, ...sources });
      await assert.rejects(adopting, { code: "INVALID_ARGUMENT", field });
    }
  });

  it("is bound once: how it stands is told by reports from then on", async () => {
    const host = await hostOf(RUNNING);
    const again = { ...host.target, qmpPath: "/qmp", externalCpuSource: undefined };
    await assert.rejects(host.agent.adoptGuest(again), { reason: "ALREADY_ADOPTED" });
    await host.adopt(STOPPED);
    assert.equal(host.kernel.renderEntries(), ENTRY);
  });
});
