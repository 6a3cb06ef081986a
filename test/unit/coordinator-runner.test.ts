import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { completeState, withMigration } from "../../coordinator/migration/complete-state.ts";
import { claimGuest } from "../../coordinator/record/guest-record.ts";
import type { StoredRecord } from "../../coordinator/record/record-store.ts";
import type { MigrationRunner } from "../../coordinator/runner/migration-runner.ts";
import type { SwitchoverError } from "../../proto/error.ts";
import type { MigrationSpec } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationMode, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestId } from "../../proto/ids.ts";
import { specOf } from "./coordinator-story.ts";
import { broken, World } from "./coordinator-world.ts";

const GUEST = "web-7" as GuestId;
const LIVE_PATH = ["PENDING", "PREPARING", "TRANSFERRING", "SWITCHING_OVER", "COMPLETING", "COMPLETED"];
const POST_COPY_PATH = [...LIVE_PATH.slice(0, 4), "POST_COPY", ...LIVE_PATH.slice(4)];

describe("a coordinator's runner", () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });
  afterEach(() => world.close());

  function claim(change: Partial<MigrationSpec> = {}): StoredRecord {
    const request = { requestId: "r1", guestId: GUEST, spec: specOf(change) };
    const claimed = claimGuest(null, request, BigInt(world.clock.unixUs()), 0.5);
    assert.ok(claimed.t === "claimed");
    return world.store.put(claimed.record);
  }

  function start(change: Partial<MigrationSpec> = {}): { runner: MigrationRunner; migrationId: string } {
    const runner = world.startRunner();
    const stored = claim(change);
    runner.take(stored);
    return { runner, migrationId: stored.record.migration?.migration?.migrationId ?? "" };
  }

  it("drives a live migration from its claim to the history", async () => {
    const { migrationId } = start();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.equal(state.migration?.instants.length, 11);
    assert.deepEqual(
      world.hosts.calls.filter((call) => !call.startsWith("follow")),
      [
        "preflight@ha",
        "preflight@hb",
        "prepareDestination@hb",
        "armSource@ha",
        "beginTransfer@ha",
        "releaseSource@ha",
      ],
    );
    assert.deepEqual(world.feed.phasesOf(migrationId), LIVE_PATH);
    assert.equal(world.store.archived.get(migrationId)?.archived, true);
  });

  it("drives a post-copy migration through POST_COPY", async () => {
    const { migrationId } = start({ mode: MigrationMode.POST_COPY });
    await world.untilPhase("web-7", "POST_COPY");
    world.hosts.finishPages();
    await world.untilArchived("web-7");
    assert.deepEqual(world.feed.phasesOf(migrationId), POST_COPY_PATH);
  });

  it("switches to post-copy when the policy's time is up", async () => {
    start({ mode: MigrationMode.POST_COPY, postCopy: { trigger: { $case: "afterMs", value: 700 } } });
    await world.until(() => world.hosts.calls.includes("beginTransfer@ha"), "the transfer begins");
    const begunAtUnixUs = world.clock.unixUs();
    await world.until(() => world.hosts.calls.includes("switchToPostCopy@ha"), "it is switched");
    const waitedMs = (world.clock.unixUs() - begunAtUnixUs) / 1_000;
    assert.ok(waitedMs >= 680 && waitedMs <= 760, `${waitedMs} ms`);
  });

  it("publishes what it committed with its sequence, its predecessor and its fence", async () => {
    const { migrationId } = start();
    await world.untilArchived("web-7");
    const events = world.feed.events.filter((event) => event.migrationId === migrationId);
    assert.deepEqual(
      events.map((event) => event.sequence),
      [1n, 2n, 3n, 4n, 5n, 6n],
    );
    const changes = events.map(({ event }) =>
      event?.$case === "phaseChanged" ? event.value : assert.fail(),
    );
    for (const [index, change] of changes.entries()) {
      assert.equal(change.from, changes[index - 1]?.to ?? 0);
      assert.equal(change.outcome, index === 5 ? Outcome.RUNS_ON_DESTINATION : Outcome.UNSPECIFIED);
    }
    assert.ok(events.every((event) => event.hostId === "" && event.fence?.epoch === 1n));
  });

  it("publishes each phase once and in order, also where the feed fails", async () => {
    world.feed.failures.push("lost", "unknown", "lost", "unknown", "unknown");
    const { migrationId } = start();
    await world.untilArchived("web-7");
    assert.deepEqual(world.feed.phasesOf(migrationId), LIVE_PATH);
  });

  it("takes up the record where another's write was first, and applies its event to that", async () => {
    const { migrationId } = start();
    world.store.othersFirst = 9;
    await world.untilArchived("web-7");
    assert.deepEqual(world.feed.phasesOf(migrationId), LIVE_PATH);
  });

  it("loses no step to writes that were lost, or whose outcome nobody knows", async () => {
    world.store.failures.push("lost", "unknown", "lost", "unknown", "unknown", "lost", "lost");
    const { migrationId } = start();
    const state = await world.untilArchived("web-7");
    assert.deepEqual(world.feed.phasesOf(migrationId), LIVE_PATH);
    assert.equal(state.migration?.instants.length, 11);
  });

  it("goes on when a store that was away for long is back", async () => {
    world.hosts.moves = "when told";
    const { migrationId } = start();
    await world.until(() => world.hosts.calls.includes("beginTransfer@ha"), "the transfer begins");
    await world.untilPhase("web-7", "TRANSFERRING");
    world.store.down = true;
    world.hosts.moveCpus();
    const awayUntilUnixUs = world.clock.unixUs() + 40_000_000;
    await world.until(() => world.clock.unixUs() >= awayUntilUnixUs, "time passes");
    world.store.down = false;
    await world.untilArchived("web-7");
    assert.deepEqual(world.feed.phasesOf(migrationId), LIVE_PATH);
  });

  it("hears agents by the feed where their streams are broken", async () => {
    world.hosts.streams = "break at once";
    const { runner, migrationId } = start();
    world.hosts.onWord = (message) => runner.onFeedEvent(message);
    await world.untilArchived("web-7");
    assert.deepEqual(world.feed.phasesOf(migrationId), LIVE_PATH);
  });

  it("opens a broken stream again after what it heard", async () => {
    world.hosts.moves = "when told";
    start();
    await world.untilPhase("web-7", "TRANSFERRING");
    await world.until(() => world.hosts.calls.includes("follow@ha>0"), "the source is followed");
    await world.until(async () => {
      const held = await world.store.get(GUEST);
      return held?.record.migration?.transferActive === true;
    }, "the source is heard");
    world.hosts.breakStreams();
    await world.until(
      () => world.hosts.calls.some((call) => /^follow@ha>[12]$/.test(call)),
      "it follows again",
    );
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
  });

  it("carries a hand-off that got lost", async () => {
    world.hosts.handOffs = "get lost";
    start();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.ok(world.hosts.calls.includes("getHandOff@ha"));
    assert.ok(world.hosts.calls.includes("deliverHandOff@hb"));
  });

  it("is ambiguous while the source cannot be asked for a lost hand-off, and ends when it can", async () => {
    world.hosts.handOffs = "get lost";
    world.hosts.moves = "when told";
    const { migrationId } = start();
    await world.until(() => world.hosts.calls.includes("beginTransfer@ha"), "the transfer begins");
    await world.untilPhase("web-7", "TRANSFERRING");
    world.hosts.setReachable("ha", false);
    world.hosts.moveCpus();
    await world.untilPhase("web-7", "AMBIGUOUS");
    world.hosts.setReachable("ha", true);
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.ok(world.feed.phasesOf(migrationId).includes("AMBIGUOUS"));
  });

  it("repeats a command whose answer was lost", async () => {
    world.hosts.answersLost.push("prepareDestination", "armSource", "beginTransfer");
    start();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.equal(world.hosts.calls.filter((call) => call === "armSource@ha").length, 2);
  });

  it("gives a host up that does not answer for long, and says so", async () => {
    world.hosts.setReachable("hb", false);
    start();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_SOURCE);
    assert.equal(state.migration?.reasonCode, "UNREACHABLE");
  });

  it("leaves the guest where it is when that is asked in time, and clears the destination", async () => {
    world.hosts.moves = "when told";
    const { runner } = start();
    await world.untilPhase("web-7", "TRANSFERRING");
    await runner.tell(GUEST, { t: "CancelAsked" });
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.phase, Phase.CANCELLED);
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_SOURCE);
    assert.deepEqual(world.hosts.calls.slice(-2), ["cancelTransfer@ha", "abortDestination@hb"]);
  });

  async function toAmbiguous(failures: readonly SwitchoverError[]): Promise<void> {
    world.hosts.moves = "when told";
    world.hosts.handOffs = "get lost";
    world.fencing.failures.push(...failures);
    start();
    await world.untilPhase("web-7", "TRANSFERRING");
    await world.until(() => world.hosts.calls.includes("follow@ha>0"), "the source is followed");
    world.hosts.setReachable("ha", false);
    world.hosts.moveCpus();
    await world.untilPhase("web-7", "AMBIGUOUS");
  }

  it("asks the fencing command again where it failed, and takes its success for the host's death", async () => {
    await toAmbiguous([broken("FAILED_PRECONDITION", "FENCE_COMMAND_FAILED")]);
    const state = await world.untilArchived("web-7");
    assert.deepEqual(world.fencing.fenced, ["ha", "ha"]);
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.equal(state.migration?.fence?.epoch, 2n);
  });

  it("asks once where there is no fencing command, and waits on for the host", async () => {
    await toAmbiguous([broken("UNIMPLEMENTED", "NO_FENCE_COMMAND")]);
    await world.until(() => world.fencing.fenced.length > 0, "the fencing command is asked for");
    const laterUnixUs = world.clock.unixUs() + 30_000_000;
    await world.until(() => world.clock.unixUs() >= laterUnixUs, "time passes");
    assert.deepEqual(world.fencing.fenced, ["ha"]);
    world.hosts.setReachable("ha", true);
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.equal(state.migration?.fence?.epoch, 1n);
  });

  it("tells progress at once and commits it once a second", async () => {
    world.hosts.moves = "when told";
    const { runner, migrationId } = start();
    await world.untilPhase("web-7", "TRANSFERRING");
    await world.until(() => world.hosts.calls.includes("follow@ha>0"), "the source is followed");
    const told: bigint[] = [];
    const stop = runner.observe(migrationId as never, (migration) => {
      if (migration.progress !== undefined) told.push(migration.progress.transferredBytes);
    });
    const commits = world.store.commits.length;
    for (let round = 1n; round <= 20n; round += 1n) {
      world.hosts.progresses(round * 10_000_000n);
      await world.until(() => told.at(-1) === round * 10_000_000n, "progress is told");
      world.clock.advance(100);
    }
    stop();
    const added = world.store.commits.length - commits;
    assert.ok(added >= 1 && added <= 4, `${added} commits in about two seconds`);
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
  });

  it("commits progress less often where many migrations are driven, and steps at once all the same", async () => {
    world.hosts.moves = "when told";
    // As a hundred times as many migrations would have it.
    const runner = world.startRunner({ progressCommitsPerSecond: 0.2 });
    runner.take(claim());
    await world.untilPhase("web-7", "TRANSFERRING");
    await world.until(() => world.hosts.calls.includes("follow@ha>0"), "the source is followed");
    const commits = world.store.commits.length;
    for (let round = 1n; round <= 100n; round += 1n) {
      world.hosts.progresses(round * 10_000_000n);
      for (let turn = 0; turn < 4; turn += 1) await nextTurn();
      world.clock.advance(100);
    }
    const added = world.store.commits.length - commits;
    assert.ok(added >= 1 && added <= 2, `${added} commits in ten seconds`);
    const movedAtUnixUs = world.clock.unixUs();
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    assert.ok(world.clock.unixUs() - movedAtUnixUs < 1_000_000);
  });

  it("fetches again what was heard, not committed, and lost to another's write", async () => {
    world.hosts.moves = "when told";
    const { runner, migrationId } = start();
    await world.untilPhase("web-7", "TRANSFERRING");
    let bytes = 0n;
    runner.observe(migrationId as never, (migration) => {
      bytes = migration.progress?.transferredBytes ?? 0n;
    });
    for (const next of [20_000_000n, 30_000_000n]) {
      world.hosts.progresses(next);
      await world.until(() => bytes === next, "progress is told");
    }
    world.store.touch("web-7");
    world.hosts.moveCpus();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.equal(state.migration?.instants.length, 11);
  });

  async function crashAndResume(
    where: string,
    arrange: (crashing: World, crash: () => void) => void,
  ): Promise<void> {
    const crashing = new World();
    try {
      const runner = crashing.startRunner();
      let crashed = false;
      arrange(crashing, () => {
        crashed = true;
        runner.close();
      });
      const request = { requestId: "r1", guestId: GUEST, spec: specOf() };
      const claimed = claimGuest(null, request, BigInt(crashing.clock.unixUs()), 0.5);
      assert.ok(claimed.t === "claimed");
      runner.take(crashing.store.put(claimed.record));
      const isDone = async () => (await crashing.store.get(GUEST))?.record.migration?.archived === true;
      await crashing.until(async () => crashed || (await isDone()), `it crashes ${where}`);
      crashing.store.beforeWrite = null;
      crashing.feed.afterPublish = null;
      crashing.feed.forgetIds();
      await crashing.startRunner().resume();
      const state = await crashing.untilArchived("web-7");
      assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION, where);
      const migrationId = state.migration?.migrationId ?? "";
      assert.deepEqual(crashing.feed.phasesOf(migrationId), LIVE_PATH, where);
      assert.ok(crashing.store.archived.has(migrationId), where);
    } finally {
      crashing.close();
    }
  }

  it("resumes a migration after a crash at any commit, and publishes every phase once", async () => {
    for (let commits = 0; commits < 24; commits += 1) {
      await crashAndResume(`at commit ${commits}`, (crashing, crash) => {
        crashing.store.beforeWrite = () => {
          if (crashing.store.commits.length >= commits) crash();
        };
      });
    }
  });

  it("publishes no phase twice that it published before a crash", async () => {
    for (let phases = 1; phases <= LIVE_PATH.length; phases += 1) {
      await crashAndResume(`after phase ${phases}`, (crashing, crash) => {
        crashing.feed.afterPublish = () => {
          if (crashing.feed.events.length === phases) crash();
        };
      });
    }
  });

  it("publishes no phase again that the feed has let go of", async () => {
    world.hosts.moves = "when told";
    const { runner, migrationId } = start();
    await world.untilPhase("web-7", "TRANSFERRING");
    await world.until(async () => {
      const held = await world.store.get(GUEST);
      return held?.record.migration?.publishedPhases === 3;
    }, "the phases are published");
    runner.close();
    world.feed.events.length = 0;
    world.feed.forgetIds();
    await world.startRunner().resume();
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    assert.deepEqual(world.feed.phasesOf(migrationId), LIVE_PATH.slice(3));
  });

  it("drives a command once that is on its way while the record is taken up again", async () => {
    world.hosts.held = "prepareDestination";
    const { runner } = start();
    await world.until(() => world.hosts.calls.includes("prepareDestination@hb"), "it is prepared");
    world.store.touch("web-7");
    await runner.tell(GUEST, { t: "PostCopyAsked" });
    world.hosts.release();
    await world.untilArchived("web-7");
    assert.equal(world.hosts.calls.filter((call) => call === "prepareDestination@hb").length, 1);
  });

  it("stops trying a command whose answer has come another way", async () => {
    world.hosts.moves = "when told";
    world.hosts.handOffs = "get lost";
    const { runner } = start();
    await world.untilPhase("web-7", "TRANSFERRING");
    world.hosts.onWord = (message) => runner.onFeedEvent(message);
    await world.until(async () => {
      const held = await world.store.get(GUEST);
      return held?.record.migration?.transferActive === true;
    }, "the source is heard");
    world.hosts.setReachable("ha", false);
    world.hosts.moveCpus();
    const asked = () => world.hosts.calls.filter((call) => call === "getHandOff@ha").length;
    await world.until(() => asked() > 1, "the source is asked again");
    world.hosts.sayHandedOff();
    await world.until(() => world.hosts.calls.includes("deliverHandOff@hb"), "the word is delivered");
    const before = asked();
    const laterUnixUs = world.clock.unixUs() + 5_000_000;
    await world.until(() => world.clock.unixUs() >= laterUnixUs, "time passes");
    assert.equal(asked(), before);
  });

  it("does not say that an event was committed when it let go of the migration before", async () => {
    world.hosts.moves = "when told";
    const { runner } = start();
    await world.untilPhase("web-7", "TRANSFERRING");
    world.store.down = true;
    const told = assert.rejects(runner.tell(GUEST, { t: "CancelAsked" }), {
      code: "UNAVAILABLE",
      reason: "SHUTTING_DOWN",
    });
    const laterUnixUs = world.clock.unixUs() + 500_000;
    await world.until(() => world.clock.unixUs() >= laterUnixUs, "time passes");
    runner.close();
    await told;
    await assert.rejects(runner.tell(GUEST, { t: "CancelAsked" }), { reason: "MIGRATION_NOT_LIVE" });
  });

  it("says that a host cannot be reached once its streams have been broken for long", async () => {
    world.hosts.moves = "when told";
    world.hosts.streams = "break at once";
    start();
    await world.until(async () => {
      const held = await world.store.get(GUEST);
      return held?.record.migration?.migration?.reasonCode === "HOST_UNREACHABLE";
    }, "the reason is told");
    world.hosts.streams = "work";
    world.hosts.moveCpus();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.reason, "");
  });

  it("drives a migration together with another coordinator, and all is said once", async () => {
    world.hosts.handOffs = "get lost";
    const { migrationId } = start();
    await world.startRunner().resume();
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.deepEqual(world.feed.phasesOf(migrationId), LIVE_PATH);
  });

  it("resumes nothing where all has ended, and is not stopped by a record it cannot use", async () => {
    start();
    await world.untilArchived("web-7");
    const stored = await world.store.get(GUEST);
    assert.ok(stored?.record.migration !== undefined && stored !== null);
    const { migration } = stored.record;
    world.store.put({
      ...stored.record,
      guestId: "odd",
      migration: { ...migration, archived: false, source: undefined },
    });
    assert.equal(await world.startRunner().resume(), 0);
  });

  it("raises the epoch above the agents', and drives everything under that", async () => {
    const runner = world.startRunner();
    const first = claim();
    runner.take(first);
    await world.untilArchived("web-7");
    // A restored store knows less than the agents do.
    const { migration } = first.record;
    assert.ok(migration !== undefined);
    const again = withMigration(completeState(migration), { migrationId: "web-7-mk3v0q8ya1z8" });
    runner.take(world.store.put({ ...first.record, migration: again }));
    const state = await world.untilArchived("web-7");
    assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
    assert.equal(state.migration?.fence?.epoch, 2n);
    assert.equal((await world.store.get(GUEST))?.record.epoch, 2n);
  });
});
