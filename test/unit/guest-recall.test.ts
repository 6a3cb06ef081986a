import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { evolve } from "../../agent/guest/evolve.ts";
import type { Guest } from "../../agent/guest/guest.ts";
import type { GuestEvent } from "../../agent/guest/guest-event.ts";
import { type FoundVmm, recall } from "../../agent/guest/recall.ts";
import { remember } from "../../agent/guest/remember.ts";
import { newestFenceIn } from "../../agent/journal/journal.ts";
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import type { InstanceId } from "../../proto/ids.ts";
import {
  DESTINATION,
  FENCE,
  GUEST,
  handOff,
  last,
  MIGRATION,
  operationWord,
  play,
  SOURCE,
} from "./guest-gate.ts";

const INSTANCE = "a1" as InstanceId;
const PREPARED: JournalWord = { kind: "nicsPrepared", nics: [], prepared: [] };
const ADOPTED: JournalWord = { kind: "adopted", qmpPath: "/run/web/qmp" };
const armed = (mode: "live" | "postCopy", runState = "running"): JournalWord => ({
  kind: "armed",
  fence: FENCE,
  migrationId: MIGRATION,
  destinationHostId: DESTINATION,
  mode,
  pointOfNoReturn: mode === "live" ? "completed" : "postcopyActiveTwice",
  runState,
});
const claimed = (mode: "live" | "postCopy"): JournalWord => ({
  kind: "prepared",
  fence: FENCE,
  migrationId: MIGRATION,
  sourceHostId: SOURCE,
  mode,
  bootId: "boot-1",
});
const BEGUN: JournalWord = { kind: "transferBegun", fence: FENCE };
const HANDED_OFF: JournalWord = { kind: "handedOff", handOff: handOff() };
const CONT_SENT: JournalWord = { kind: "contSent", fence: FENCE };
const STARTED: JournalWord = { kind: "started", fence: FENCE };

const found = (runState: string, transferStatus = "none"): FoundVmm => ({
  vmm: "connected",
  runState,
  running: runState === "running",
  transferStatus,
  nics: "unread",
});

/** What an agent that comes back does for an instance with this journal: every operation but questions and news. */
function comeBack(
  words: readonly JournalWord[],
  vmm: FoundVmm,
  bootId = "boot-1",
  staysRegisteredFor: readonly string[] = [],
) {
  const entries = [PREPARED, ADOPTED, ...words].map((word, index) => ({
    atUnixUs: 100 + index,
    instanceId: INSTANCE,
    word,
  }));
  const [memory] = remember(entries);
  if (memory === undefined) throw new Error("the journal remembers no instance");
  const { adopted, missed } = recall(
    GUEST,
    SOURCE,
    bootId,
    memory,
    newestFenceIn(entries),
    vmm,
    5_000,
    () => false,
    staysRegisteredFor,
  );
  let guest: Guest = adopted.guest;
  const done: string[] = [];
  const told: string[] = [];
  const hear = (event: GuestEvent): void => {
    const next = evolve(guest, event);
    guest = next.guest;
    perform(next.operations);
  };
  const perform = (operations: typeof adopted.operations): void => {
    for (const operation of operations) {
      if (operation.kind === "publish") told.push(operation.event.$case);
      else done.push(...operationWord(operation));
      const atUnixUs = 5_000;
      if (operation.kind === "registerNics") hear({ kind: "nicsRegistered", sentAtUnixUs: 1, atUnixUs });
      if (operation.kind === "deregisterNics") hear({ kind: "nicsDeregistered", atUnixUs });
    }
  };
  perform(adopted.operations);
  for (const event of missed) hear(event);
  return { guest, done: done.filter((name) => !name.startsWith("read ")), told };
}

describe("an agent that comes back to a source", () => {
  it("goes on with a transfer that runs, its guest registered", () => {
    const back = comeBack([armed("live"), BEGUN], found("running", "active"));
    assert.deepEqual(back.done, ["registerNics"]);
    assert.equal(back.guest.role.kind, "outgoing");
    assert.equal(back.guest.migration?.transferStatus, "active");
  });

  it("gives the word that it could not give, after it deregistered", () => {
    const back = comeBack([armed("live"), BEGUN], found("postmigrate", "completed"));
    assert.deepEqual(back.done, ["deregisterNics", "deregisterNics", "journal handedOff", "publishHandOff"]);
  });

  it("asks twice for the point of no return of an older post-copy before it gives it", () => {
    const back = comeBack([armed("postCopy"), BEGUN], found("finish-migrate", "postcopy-active"));
    assert.deepEqual(back.done.slice(-2), ["readTransferStatus", "readTransferStatus"]);
    const confirmed = {
      kind: "transferStatusRead",
      purpose: "pointOfNoReturn",
      status: "postcopy-active",
    } as const;
    const answers = play(back.guest, confirmed, confirmed);
    assert.deepEqual(last(answers).done, ["journal handedOff", "publishHandOff"]);
  });

  it("gives the word of a guest that its owner had paused with that run state", () => {
    const noted: JournalWord = { kind: "runStateNoted", fence: FENCE, runState: "paused" };
    const { guest } = comeBack([armed("live"), BEGUN, noted], found("postmigrate", "completed"));
    assert.ok(guest.role.kind === "relinquished");
    assert.equal(guest.role.handOff.runState, "paused");
  });

  it("tells no stop of a guest that stands as its owner had it", () => {
    const back = comeBack([armed("live", "paused")], found("paused"));
    assert.deepEqual(back.told, ["nicsDeregistered"]);
    assert.equal(comeBack([armed("live")], found("paused")).told.includes("cpusStopped"), true);
  });

  it("keeps the guest of a transfer that failed meanwhile", () => {
    const back = comeBack([armed("live"), BEGUN], found("running", "failed"));
    assert.deepEqual(back.done, ["registerNics", "journal kept"]);
    assert.deepEqual(back.told.at(-1), "kept");
  });

  it("does not take an earlier transfer's end for this one's", () => {
    for (const words of [[armed("live")], [armed("live"), BEGUN]]) {
      assert.equal(comeBack(words, found("running", "completed")).guest.role.kind, "outgoing");
      assert.equal(comeBack(words, found("paused", "completed")).guest.role.kind, "outgoing");
    }
  });

  it("says its word again, and guards", () => {
    assert.deepEqual(comeBack([armed("live"), HANDED_OFF], found("postmigrate", "completed")).done, [
      "deregisterNics",
      "publishHandOff",
    ]);
    const ran = comeBack([armed("live"), HANDED_OFF], found("running", "completed"));
    assert.deepEqual(ran.done, ["deregisterNics", "publishHandOff", "sendStop", "timer stopAgain 100"]);
  });

  it("starts a guest that it had taken back and not started", () => {
    const retaken: JournalWord = { kind: "retaken", fence: { epoch: 8n, revision: 1n }, runState: "running" };
    const back = comeBack([armed("live"), HANDED_OFF, retaken], found("postmigrate", "completed"));
    assert.deepEqual(back.done, ["registerNics", "sendCont"]);
  });

  it("waits for the coordinator with a guest that it kept and the switchover had stopped", () => {
    const kept: JournalWord = { kind: "kept", fence: FENCE, runState: "running", cpus: "stopped" };
    const back = comeBack([armed("live"), BEGUN, kept], found("postmigrate", "failed"));
    assert.deepEqual(back.done, ["deregisterNics"]);
    const resumed = play(back.guest, { kind: "resumeOrdered", fence: FENCE });
    assert.deepEqual(last(resumed).done, ["registerNics"]);
  });

  for (const runState of ["paused", "io-error", "guest-panicked"]) {
    it(`leaves a guest that it kept stopped where QEMU resumed it and it stands in ${runState} since: that is its owner's`, () => {
      const kept: JournalWord = { kind: "kept", fence: FENCE, runState: "running", cpus: "stopped" };
      const words = [armed("live"), BEGUN, kept];
      const back = comeBack(words, found(runState, "failed"));
      assert.deepEqual(back.done, ["deregisterNics", "journalWhenPossible runStateNoted"]);
      assert.deepEqual(last(play(back.guest, { kind: "resumeOrdered", fence: FENCE })).done, []);
      const registered: FoundVmm = { ...found(runState, "failed"), nics: "registered" } as FoundVmm;
      const stays = comeBack(words, registered, "boot-1", [runState]);
      assert.deepEqual(stays.done, ["registerNics", "journalWhenPossible runStateNoted"]);
      assert.equal(stays.guest.stay.kind, "stays");
    });
  }

  it("gives the word of a live guest whose VMM died meanwhile: a destination that is loaded has all of it", () => {
    const back = comeBack([armed("live"), BEGUN], { vmm: "lost", sentence: "gone" });
    assert.deepEqual(back.done.slice(-2), ["journal handedOff", "publishHandOff"]);
    assert.ok(back.told.includes("vmmLost"));
  });

  it("hands off nothing when its VMM is gone and nobody can have all of the guest", () => {
    for (const words of [[armed("live")], [armed("postCopy"), BEGUN]]) {
      const back = comeBack(words, { vmm: "lost", sentence: "gone" });
      assert.equal(back.done.at(-1), "journal kept");
    }
  });
});

describe("an agent that comes back to a destination", () => {
  it("waits on, unregistered, and asks whether the guest is loaded", () => {
    const back = comeBack([claimed("live")], found("inmigrate", "active"));
    assert.deepEqual(back.done, ["deregisterNics"]);
    assert.equal(back.guest.role.kind, "incoming");
    const loaded = comeBack([claimed("live")], found("paused", "completed")).guest;
    assert.ok(loaded.role.kind === "incoming" && loaded.role.loaded);
  });

  it("stops CPUs that run without the word", () => {
    assert.ok(comeBack([claimed("live")], found("running", "completed")).done.includes("sendStop"));
  });

  it("sends the `cont` that it had journaled and that never left, registered first", () => {
    const back = comeBack([claimed("live"), CONT_SENT], found("paused", "completed"));
    assert.deepEqual(back.done, ["registerNics", "sendCont"]);
  });

  it("tells that the guest runs where that was missed, with the time of its `cont`", () => {
    const back = comeBack([claimed("live"), CONT_SENT], found("running", "completed"));
    assert.deepEqual(back.done, ["registerNics", "journalWhenPossible started", "announce"]);
    assert.ok(back.told.includes("cpusStarted"));
  });

  it("leaves a guest stopped that ran and was stopped since", () => {
    const back = comeBack([claimed("live"), CONT_SENT, STARTED], found("paused", "completed"));
    assert.deepEqual(back.done, ["deregisterNics"]);
    const failed = comeBack([claimed("live"), CONT_SENT], found("io-error", "completed"));
    assert.deepEqual(failed.done, ["deregisterNics"]);
  });

  it("tells that the guest it kept was started again, where nobody was told", () => {
    const kept: JournalWord = { kind: "kept", fence: FENCE, runState: "running", cpus: "stopped" };
    const started: JournalWord = { kind: "started", fence: FENCE };
    const back = comeBack([armed("live"), BEGUN, kept, started], found("running", "failed"));
    assert.ok(back.told.includes("sourceResumed"));
    const ran = comeBack([armed("live"), BEGUN, { ...kept, cpus: "running" }], found("running", "failed"));
    assert.ok(!ran.told.includes("sourceResumed"));
  });

  it("still has no way back for a guest that it was given again after it had handed it back", () => {
    const handedBack: JournalWord = { kind: "handedBack", fence: FENCE, sentence: "not ready" };
    const back = comeBack(
      [claimed("postCopy"), handedBack, claimed("postCopy")],
      found("paused", "postcopy-active"),
    );
    assert.equal(back.guest.role.kind === "incoming" && back.guest.role.wayBack, "none");
    const restated = [claimed("postCopy"), handedBack, claimed("postCopy"), claimed("postCopy")];
    const still = comeBack(restated, found("paused", "postcopy-active")).guest.role;
    assert.equal(still.kind === "incoming" && still.wayBack, "none");
    const first = comeBack([claimed("postCopy")], found("paused", "postcopy-active"));
    assert.equal(first.guest.role.kind === "incoming" && first.guest.role.wayBack, "open");
  });

  it("does not take an older transfer's end for this one's, where its guest stood from before", () => {
    const words = [armed("live", "postmigrate"), BEGUN];
    const back = comeBack(words, found("postmigrate", "completed"));
    assert.equal(back.guest.role.kind, "outgoing");
    const ran: JournalWord = { kind: "runStateNoted", fence: FENCE, runState: "running" };
    assert.equal(
      comeBack([...words, ran], found("postmigrate", "completed")).guest.role.kind,
      "relinquished",
    );
    const refused: JournalWord = { kind: "transferRefused", fence: FENCE };
    const after = comeBack([armed("live", "paused"), BEGUN, refused], found("postmigrate", "completed")).guest
      .role;
    assert.equal(after.kind === "outgoing" && after.transfer, "notBegun");
  });

  it("ends the VMM of a guest that it handed back, and says so again", () => {
    const handedBack: JournalWord = { kind: "handedBack", fence: FENCE, sentence: "not ready" };
    const back = comeBack([claimed("live"), handedBack], found("paused", "completed"));
    assert.deepEqual(back.done, ["deregisterNics", "quitVmm", "timer quitAgain 1000"]);
    assert.deepEqual(back.told.at(-1), "handedBack");
    const held = comeBack([claimed("postCopy"), handedBack], found("paused", "postcopy-active"));
    assert.deepEqual(held.done, ["deregisterNics"]);
  });

  it("tells of a held post-copy guest that its pages are complete, for it may be started yet", () => {
    const handedBack: JournalWord = { kind: "handedBack", fence: FENCE, sentence: "not ready" };
    const held = comeBack([claimed("postCopy"), handedBack], found("paused", "completed"));
    assert.equal(held.told.at(-1), "transferStatusChanged");
  });

  it("does not hand back what a host that died may have started: the line that says so may be lost with it", () => {
    const back = comeBack([claimed("live")], { vmm: "lost", sentence: "gone" }, "boot-2");
    assert.deepEqual(back.done, ["deregisterNics"]);
    assert.deepEqual(back.told.at(-1), "vmmLost");
  });

  it("tells again what it may have been killed before it could tell", () => {
    const paused: JournalWord = { kind: "takenOverPaused", fence: FENCE };
    assert.ok(
      comeBack([claimed("live"), paused], found("paused", "completed")).told.includes("takenOverPaused"),
    );
    const ran = comeBack([claimed("postCopy"), CONT_SENT, STARTED], found("running", "completed"));
    assert.ok(ran.told.includes("cpusStarted") && ran.told.includes("transferStatusChanged"));
  });

  it("tells that it started its guest also where that has stopped since, for a reason of its own", () => {
    const stopped = comeBack([claimed("live"), CONT_SENT], found("io-error", "completed"));
    assert.ok(stopped.told.includes("cpusStarted"));
    assert.deepEqual(stopped.done, ["deregisterNics"]);
    const standing = comeBack([claimed("live"), CONT_SENT], found("paused", "completed"));
    assert.equal(standing.told.includes("cpusStarted"), false);
  });

  it("hands the guest back when its VMM is gone and `cont` was never journaled", () => {
    const back = comeBack([claimed("live")], { vmm: "lost", sentence: "gone" });
    assert.deepEqual(back.done, ["deregisterNics", "journal handedBack"]);
  });
});

describe("an agent that comes back to a guest without a migration", () => {
  it("registers it where it runs, deregisters it where it stands, and starts nothing", () => {
    assert.deepEqual(comeBack([], found("running")).done, ["registerNics"]);
    assert.deepEqual(comeBack([], found("paused")).done, ["deregisterNics"]);
    assert.equal(comeBack([], found("inmigrate")).guest.role.kind, "vacant");
  });

  it("knows one whose VMM waited for a guest and is gone from one that had the guest", () => {
    const gone: FoundVmm = { vmm: "lost", sentence: "gone" };
    const waited: JournalWord = { kind: "adopted", qmpPath: "/run/web/qmp", waits: true };
    assert.equal(comeBack([waited], gone).guest.role.kind, "vacant");
    assert.equal(comeBack([], gone).guest.role.kind, "resident");
  });

  it("forgets an instance that was done with, and one that was prepared anew begins anew", () => {
    const entry = (word: JournalWord) => ({ atUnixUs: 1, instanceId: INSTANCE, word });
    assert.deepEqual(remember([PREPARED, ADOPTED, { kind: "forgotten" } as const].map(entry)), []);
    const [again] = remember([PREPARED, ADOPTED, armed("live"), PREPARED].map(entry));
    assert.equal(again?.adopted, null);
    assert.equal(again?.standing.kind, "unclaimed");
  });
});

describe("an agent that comes back to a guest that may stay registered for pauses", () => {
  const registered = (runState: string): FoundVmm => ({ ...found(runState), nics: "registered" }) as FoundVmm;
  const back = (words: readonly JournalWord[], vmm: FoundVmm) => comeBack(words, vmm, "boot-1", ["paused"]);

  it("leaves it registered while it is paused, if the kernel has it so", () => {
    const { done, guest } = back([], registered("paused"));
    assert.deepEqual(done, ["registerNics"]);
    assert.equal(guest.stay.kind, "stays");
  });

  it("deregisters one that is paused and is not registered, or stands for another reason", () => {
    const unregistered = { ...found("paused"), nics: "notRegistered" } as FoundVmm;
    assert.deepEqual(back([], unregistered).done, ["deregisterNics"]);
    assert.deepEqual(back([], registered("io-error")).done, ["deregisterNics"]);
  });

  it("deregisters one that stopped while its transfer went on, and gives no word while it is registered", () => {
    assert.equal(back([armed("live"), BEGUN], registered("paused")).done[0], "deregisterNics");
    const stood = { ...registered("postmigrate"), transferStatus: "completed" } as FoundVmm;
    const pausedBefore: JournalWord = { kind: "runStateNoted", fence: FENCE, runState: "paused" };
    const { done } = back([armed("live"), pausedBefore, BEGUN], stood);
    assert.deepEqual(done, ["deregisterNics", "journal handedOff", "publishHandOff"]);
  });
});
