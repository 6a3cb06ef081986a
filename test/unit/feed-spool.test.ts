import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { FeedSpool, type NewEvent, type SpoolLimits } from "../../agent/feed/feed-spool.ts";
import { subjectOf } from "../../agent/feed/feed-subject.ts";
import { openSpoolDirectory } from "../../agent/feed/spool-directory.ts";
import type { SpoolStore } from "../../agent/feed/spool-store.ts";
import type { LogFields } from "../../agent/log.ts";
import type { HostId } from "../../proto/ids.ts";
import { FENCE, GUEST, MIGRATION } from "./guest-gate.ts";
import { PretendedSpoolStore } from "./pretended-spool-store.ts";

const HOST = "ha" as HostId;
const SUBJECT = subjectOf({ guestId: GUEST, migrationId: MIGRATION }, HOST);
const GUEST_SUBJECT = subjectOf({ guestId: GUEST, migrationId: "" }, HOST);

function said(round: number, migrationId: string = MIGRATION): NewEvent {
  return {
    migrationId,
    guestId: GUEST,
    hostId: HOST,
    instanceId: "a1",
    fence: FENCE,
    atUnixUs: 1n,
    event: { $case: "announced", value: { round, announcedAtUnixUs: 1n, firstFrames: [] } },
  };
}

const PROGRESS: NewEvent = {
  ...said(0),
  event: { $case: "transferProgressed", value: { progress: undefined } },
};

function open(store: SpoolStore, limits?: SpoolLimits) {
  const alarms: string[] = [];
  const note = ({ reason }: LogFields) => void alarms.push(String(reason));
  const log = { debug: () => {}, info: () => {}, warn: note, error: note };
  const clock = { unixUs: () => 1_000, after: () => () => {} };
  const spool = new FeedSpool({ hostId: HOST, store, clock, log, ...(limits && { limits }) });
  return { spool, alarms };
}

function tell(spool: FeedSpool, ...events: readonly NewEvent[]): readonly number[] {
  const spooled = spool.append(events);
  spool.reveal(spooled);
  return spooled.map(({ sequence }) => Number(sequence));
}

const rounds = (spool: FeedSpool, after = 0n, subject = SUBJECT) =>
  spool
    .eventsAfter(subject, after, 10_000)
    .map(({ sequence, event }) => `${sequence}:${event?.$case === "announced" ? event.value.round : "?"}`);

function settleAll(spool: FeedSpool, subject = SUBJECT): number {
  let count = 0;
  for (let next = spool.nextUnsent(subject); next !== undefined; next = spool.nextUnsent(subject)) {
    spool.settle(next);
    count += 1;
  }
  return count;
}

describe("what an agent says", () => {
  it("is numbered from 1 for each migration and for each guest outside one, and goes on after a restart", () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store);
    assert.deepEqual(tell(spool, said(1), said(1, ""), said(2), said(2, "")), [1, 1, 2, 2]);
    const { spool: next } = open(store);
    assert.deepEqual(tell(next, said(3), said(3, "")), [3, 3]);
    assert.deepEqual(rounds(next), ["1:1", "2:2", "3:3"]);
    assert.deepEqual(rounds(next, 2n, GUEST_SUBJECT), ["3:3"]);
  });

  it("is in the spool in one write, however much is let go at once", () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store);
    tell(spool, said(1), said(2), said(3), said(4));
    assert.equal(store.appends, 1);
  });

  it("is nobody's before it is revealed, and after a restart everybody's", () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store);
    spool.append([said(1)]);
    assert.deepEqual(rounds(spool), []);
    assert.equal(spool.nextUnsent(SUBJECT), undefined);
    assert.equal(spool.unsent, 1);
    const { spool: next } = open(store);
    assert.deepEqual(rounds(next), ["1:1"]);
    assert.equal(next.nextUnsent(SUBJECT)?.sequence, 1n);
  });

  it("is owed since its oldest event was said, in memory and after a restart, until the feed has that", () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store);
    const at = (atUnixUs: bigint, migrationId: string = MIGRATION) => ({ ...said(1, migrationId), atUnixUs });
    assert.equal(spool.oldestUnsentUnixUs, null);
    tell(spool, at(300n, ""), at(100n), at(200n));
    assert.equal(spool.oldestUnsentUnixUs, 100);
    const { spool: next } = open(store);
    assert.equal(next.oldestUnsentUnixUs, 100);
    const settle = (subject: string) => next.settle(next.nextUnsent(subject) ?? assert.fail());
    settle(SUBJECT);
    assert.equal(next.oldestUnsentUnixUs, 200);
    settle(SUBJECT);
    assert.equal(next.oldestUnsentUnixUs, 300);
    settle(GUEST_SUBJECT);
    assert.equal(next.oldestUnsentUnixUs, null);
  });

  it("is read from the disk when memory has let go of it", () => {
    const { spool } = open(new PretendedSpoolStore());
    for (let round = 1; round <= 1_500; round += 1) tell(spool, said(round));
    assert.equal(rounds(spool).length, 1_500);
    assert.deepEqual(rounds(spool).slice(0, 2), ["1:1", "2:2"]);
    assert.match(spool.bodyOf(spool.nextUnsent(SUBJECT) ?? assert.fail()) ?? "", /"round":1\b/);
  });
});

describe("a spool after a crash", () => {
  it("is cut where its last line is torn, and the number is given again", () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store);
    tell(spool, said(1), said(2));
    const { number, bytes } = store.segments().at(-1) ?? assert.fail();
    store.cut(number, bytes - 3);
    const { spool: next, alarms } = open(store);
    assert.deepEqual(rounds(next), ["1:1"]);
    assert.deepEqual(tell(next, said(3)), [2]);
    assert.deepEqual(rounds(open(store).spool), ["1:1", "2:3"]);
    assert.deepEqual(alarms, []);
  });

  it("has all that was synced when the host died", async () => {
    for (const spared of [0, 1, 40, 150]) {
      const store = new PretendedSpoolStore();
      const { spool } = open(store);
      spool.append([said(1), said(2)]);
      await spool.sync();
      spool.append([said(3)]);
      store.crash(spared);
      assert.deepEqual(rounds(open(store).spool), ["1:1", "2:2"], `${spared} bytes spared`);
    }
  });

  it("tells of lines that are none, and has the others", () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store);
    tell(spool, said(1));
    store.append(1, Buffer.from("event of no form\n"));
    tell(open(store).spool, said(2));
    const { spool: next, alarms } = open(store);
    assert.deepEqual(rounds(next), ["1:1", "2:2"]);
    assert.deepEqual(alarms, ["FEED_SPOOL_DAMAGED"]);
  });

  it("does not owe the stream what was marked as stored", () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store);
    tell(spool, said(1), said(2), said(3));
    spool.settle(spool.nextUnsent(SUBJECT) ?? assert.fail());
    spool.settle(spool.nextUnsent(SUBJECT) ?? assert.fail());
    spool.mark();
    const { spool: next } = open(store);
    assert.equal(next.unsent, 1);
    assert.equal(next.nextUnsent(SUBJECT)?.sequence, 3n);
    assert.deepEqual(next.unsentSubjects(), [SUBJECT]);
  });

  it("goes on numbering where even the events are trimmed", async () => {
    const store = new PretendedSpoolStore();
    const limits = { segment: 300, keep: 300, tight: 10_000, full: 10_000 };
    const { spool } = open(store, limits);
    tell(spool, said(1, ""), said(2, ""));
    for (let round = 1; round <= 20; round += 1) {
      tell(spool, said(round));
      settleAll(spool, GUEST_SUBJECT);
      settleAll(spool);
      await spool.sync();
    }
    assert.doesNotMatch(store.text(), /event \S*guest-web/);
    const { spool: next } = open(store, limits);
    assert.deepEqual(tell(next, said(3, "")), [3]);
    assert.equal(next.lastSequence(SUBJECT), 20n);
  });
});

describe("a spool's size", () => {
  const LIMITS = { segment: 500, keep: 1_500, tight: 4_000, full: 6_000 };
  const size = (store: PretendedSpoolStore) => store.segments().reduce((sum, { bytes }) => sum + bytes, 0);

  it("stays at what followers are owed while the stream takes all", async () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store, LIMITS);
    for (let round = 1; round <= 200; round += 1) {
      tell(spool, said(round));
      settleAll(spool);
      await spool.sync();
      assert.ok(size(store) <= LIMITS.keep + 2 * LIMITS.segment + 500, `${size(store)} bytes`);
    }
    assert.equal(rounds(spool).at(-1), "200:200");
  });

  it("removes nothing that the stream lacks, nor what no later header on disk stands for", async () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store, { ...LIMITS, keep: 0 });
    for (let round = 1; round <= 10; round += 1) tell(spool, said(round));
    await spool.sync();
    assert.equal(rounds(spool).length, 10);
    settleAll(spool);
    tell(spool, said(11));
    const before = store.segments().length;
    assert.ok(before > 1, "it has one segment");
    store.crash();
    assert.equal(open(store).spool.lastSequence(SUBJECT), 10n);
  });

  it("no longer tells progress when it is nearly full, and gives it no number", () => {
    const store = new PretendedSpoolStore();
    const { spool, alarms } = open(store, LIMITS);
    for (let round = 1; size(store) < LIMITS.tight; round += 1) tell(spool, said(round));
    const before = spool.lastSequence(SUBJECT);
    assert.deepEqual(tell(spool, PROGRESS, said(0)), [Number(before) + 1]);
    assert.deepEqual(alarms, ["FEED_SPOOL_FULL"]);
  });

  it("keeps what comes beyond in memory, tells it all the same, and sends it when the stream is back", () => {
    const store = new PretendedSpoolStore();
    const { spool, alarms } = open(store, LIMITS);
    for (let round = 1; round <= 100; round += 1) tell(spool, said(round));
    assert.ok(size(store) <= LIMITS.full + 1_000, `${size(store)} bytes`);
    assert.equal(rounds(spool).length, 100);
    assert.ok(alarms.includes("FEED_SPOOL_FULL"));
    assert.ok(alarms.length <= 2, `${alarms.length} alarms`);
    assert.equal(settleAll(spool), 100);
  });

  it("spools what it kept in memory as soon as the disk has room, before anything later", () => {
    const store = new PretendedSpoolStore();
    store.disk = "is full";
    const { spool } = open(store);
    tell(spool, said(1), said(2), said(3));
    store.disk = "takes all";
    tell(spool, said(4));
    const { spool: afterRestart } = open(store);
    assert.deepEqual(rounds(afterRestart), ["1:1", "2:2", "3:3", "4:4"]);
    assert.equal(settleAll(afterRestart), 4);
  });

  it("never marks as told under a number what the disk did not take", () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store);
    tell(spool, said(1), said(2));
    store.disk = "is full";
    tell(spool, said(3));
    const first = spool.nextUnsent(SUBJECT);
    assert.ok(first);
    spool.settle(first);
    store.disk = "takes all";
    spool.mark();
    assert.deepEqual(rounds(open(store).spool), ["1:1", "2:2", "3:3"]);
  });

  it("says which events it loses when even memory has no more room", () => {
    const store = new PretendedSpoolStore();
    store.disk = "is full";
    const { spool, alarms } = open(store);
    for (let round = 1; round <= 1_030; round += 1) tell(spool, said(round));
    assert.equal(spool.unsent, 1_024);
    assert.equal(rounds(spool)[0], "7:7");
    assert.equal(alarms.filter((reason) => reason === "FEED_EVENTS_LOST").length, 6);
    store.disk = "takes all";
    assert.deepEqual(tell(spool, said(0)), [1_031]);
    assert.equal(settleAll(spool), 1_025);
  });

  it("owes the stream after a restart what it had spooled before what it lost", () => {
    const store = new PretendedSpoolStore();
    const { spool } = open(store);
    tell(spool, said(1), said(2), said(3));
    store.disk = "is full";
    for (let round = 4; round <= 1_030; round += 1) tell(spool, said(round));
    store.disk = "takes all";
    spool.mark();
    const { spool: afterRestart } = open(store);
    assert.deepEqual(rounds(afterRestart).slice(0, 4), ["1:1", "2:2", "3:3", "7:7"]);
    assert.equal(afterRestart.nextUnsent(SUBJECT)?.sequence, 1n);
    assert.equal(settleAll(afterRestart), 1_027);
  });
});

describe("numbers that a lost predecessor gave", () => {
  it("are not given again, and what was said under them is said again once", () => {
    const { spool } = open(new PretendedSpoolStore());
    tell(spool, said(1), said(2));
    const again = spool.renumber(SUBJECT, 7n);
    spool.reveal(again);
    assert.deepEqual(
      again.map(({ sequence }) => sequence),
      [8n, 9n],
    );
    assert.deepEqual(spool.renumber(SUBJECT, 7n), []);
    assert.deepEqual(tell(spool, said(3)), [10]);
    assert.deepEqual(rounds(spool, 7n), ["8:1", "9:2", "10:3"]);
  });

  it("leave alone what the predecessor itself had said", () => {
    const store = new PretendedSpoolStore();
    tell(open(store).spool, said(1), said(2));
    const { spool } = open(store);
    tell(spool, said(3));
    assert.deepEqual(
      spool.renumber(SUBJECT, 5n).map(({ sequence }) => sequence),
      [6n],
    );
  });
});

describe("a spool in a directory", () => {
  it("is as it was for who opens it next, segments and all", async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "switchover-spool-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const limits = { segment: 500, keep: 1_000, tight: 1_000_000, full: 1_000_000 };
    const store = openSpoolDirectory(directory);
    const { spool } = open(store, limits);
    for (let round = 1; round <= 50; round += 1) tell(spool, said(round));
    await spool.sync();
    const numbersBefore = store.segments().map(({ number }) => number);
    for (let count = 0; count < 40; count += 1) spool.settle(spool.nextUnsent(SUBJECT) ?? assert.fail());
    assert.ok((store.segments()[0]?.number ?? 0) > (numbersBefore[0] ?? 0), "nothing was removed");
    spool.close();
    spool.close();

    const next = openSpoolDirectory(directory);
    t.after(() => next.close());
    const { spool: successor } = open(next, limits);
    assert.equal(successor.unsent, 10);
    assert.equal(successor.nextUnsent(SUBJECT)?.sequence, 41n);
    assert.deepEqual(tell(successor, said(51)), [51]);
    assert.equal(rounds(successor).at(-1), "51:51");
  });

  it("says why it cannot be written", (t) => {
    const directory = mkdtempSync(join(tmpdir(), "switchover-spool-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const store = openSpoolDirectory(directory);
    store.close();
    assert.throws(() => store.append(1, Buffer.from("x\n")), {
      code: "UNAVAILABLE",
      reason: "SPOOL_UNWRITABLE",
    });
  });
});
