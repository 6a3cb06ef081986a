import assert from "node:assert/strict";
import { test } from "node:test";
import { receiptOf } from "../../coordinator/inventory/receipt.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { InstantKind, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { SpanKind } from "../../proto/gen/switchover/v1/receipt.ts";
import { HostRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestEntry, HostEntry, MigrationRow, Notice } from "../../services/observer/page/wire.ts";
import { ObserverView } from "../../services/observer/view/observer-view.ts";
import { toldMigration } from "../observer/told-migration.ts";

const NOW_MS = 1_795_456_900_000;
const DAY_MS = 86_400_000;

function viewOf(limits = { migrations: 100, ageMs: 30 * DAY_MS }): ObserverView {
  return new ObserverView(limits, NOW_MS);
}

/** What a page that reads everything now has, by kind and id. */
function shown<T>(view: ObserverView, kind: string): Map<string, T> {
  const changes = view.changes.after(0, 1_000_000).changes.map((text) => JSON.parse(text));
  return new Map(changes.filter(([of]) => of === kind).map(([, id, value]) => [id, value as T]));
}

let told = 0;
function event(what: Partial<FeedEvent>): readonly [string, FeedEvent] {
  told += 1;
  return [
    `event-${told}`,
    FeedEvent.fromPartial({ guestId: "web", atUnixUs: BigInt(NOW_MS) * 1_000n, ...what }),
  ];
}

const started = (hostId: string, epoch = 0n) =>
  event({
    hostId,
    fence: { epoch, revision: 0n },
    event: { $case: "cpusStarted", value: { contSentAtUnixUs: 0n, resumedAtUnixUs: 5_000n } },
  });
const stopped = (hostId: string, epoch = 0n) =>
  event({
    hostId,
    fence: { epoch, revision: 0n },
    event: { $case: "cpusStopped", value: { stoppedAtUnixUs: 9_000n, receivedAtUnixUs: 9_100n } },
  });
const handedOff = (hostId: string, epoch: bigint) =>
  event({
    hostId,
    fence: { epoch, revision: 0n },
    event: { $case: "handedOff", value: { handOff: undefined } },
  });

test("a migration's row moves through its phases, and an older record changes nothing", () => {
  const view = viewOf();
  const at = (phase: Phase, revision: bigint) => toldMigration({ guest: "web", phase, revision });
  view.hearMigration(at(Phase.PENDING, 1n));
  const { migrationId } = at(Phase.PENDING, 1n).migration;
  const rowNow = () => shown<MigrationRow>(view, "m").get(migrationId) ?? assert.fail();
  assert.deepEqual([rowNow().phase, rowNow().standing], ["pending", "waiting"]);
  view.hearMigration(at(Phase.TRANSFERRING, 3n));
  assert.deepEqual(
    [rowNow().phase, rowNow().standing, rowNow().windows.blackoutUs],
    ["transferring", "open", null],
  );
  view.hearMigration(at(Phase.PREPARING, 2n));
  assert.equal(rowNow().phase, "transferring");
  view.hearMigration(at(Phase.COMPLETED, 9n));
  assert.deepEqual([rowNow().standing, rowNow().outcome], ["completed", "runs on destination"]);
  assert.equal(shown(view, "m").size, 1);
});

test("a record that lacks a part, as none of a coordinator's does, is passed over", () => {
  const view = viewOf();
  view.hearMigration(undefined);
  view.hearMigration(MigrationState.create({ migration: { migrationId: "web-mk3v0q8ya1z9" } }));
  assert.equal(shown(view, "m").size, 0);
});

test("every figure of an ended migration is its receipt's", () => {
  const view = viewOf();
  const state = toldMigration({ guest: "web", nics: 3 });
  view.hearMigration(state);
  const detail = view.detail(state.migration.migrationId) ?? assert.fail();
  const receipt = receiptOf(state);
  assert.ok(receipt.spans.length === 8);
  assert.deepEqual(
    detail.spans.map(({ acrossClocks, durationUs, kind }) => [kind, durationUs, acrossClocks]),
    receipt.spans.map(({ acrossClocks, durationUs, kind }) => [
      Object.entries(SpanKind).find(([, value]) => value === kind)?.[0],
      Number(durationUs),
      acrossClocks,
    ]),
  );
  const durationOf = (kind: SpanKind) =>
    Number(receipt.spans.find((span) => span.kind === kind)?.durationUs ?? assert.fail());
  assert.deepEqual(detail.row.windows, {
    blackoutUs: durationOf(SpanKind.BLACKOUT),
    blackHoleUs: durationOf(SpanKind.UNREGISTERED),
    duplicateUs: 0,
    overheadUs: durationOf(SpanKind.ADDED),
  });
  assert.deepEqual(
    detail.phases.map(({ durationUs }) => durationUs ?? 0),
    receipt.phases.map(({ durationUs }) => Number(durationUs)),
  );
  assert.deepEqual(
    detail.nics.map(({ id }) => id),
    ["eth0", "eth1", "eth2"],
  );
});

test("registered on both hosts is a duplicate, and no black hole", () => {
  const state = toldMigration({ guest: "web" });
  const instants = state.migration.instants.map((instant) =>
    instant.kind === InstantKind.REGISTERED ? { ...instant, atUnixUs: instant.atUnixUs - 7_000n } : instant,
  );
  const view = viewOf();
  view.hearMigration({ ...state, migration: { ...state.migration, instants } });
  const { windows } = view.detail(state.migration.migrationId)?.row ?? assert.fail();
  assert.equal(windows.blackHoleUs, 0);
  assert.ok((windows.duplicateUs ?? 0) > 0);
});

test("a destination's clock that is behind is corrected in the timeline as in the receipt", () => {
  const state = toldMigration({ guest: "web" });
  const instants = state.migration.instants.map((instant) =>
    instant.hostId === "hb" ? { ...instant, atUnixUs: instant.atUnixUs - 50_000n } : instant,
  );
  const behind = { ...state, migration: { ...state.migration, instants } };
  const view = viewOf();
  view.hearMigration(behind);
  const detail = view.detail(state.migration.migrationId) ?? assert.fail();
  assert.equal(detail.clockBehindUs, Number(receiptOf(behind).destinationClockBehindUs));
  assert.ok(detail.clockBehindUs > 0);
  const at = (kind: string) => detail.instants.find((instant) => instant.kind === kind)?.atUs;
  assert.equal(at("STOPPED"), 0);
  assert.equal(at("RESUMED"), detail.row.windows.blackoutUs);
});

test("a destination's clock that was measured to be ahead is corrected in every window, as in the receipt", () => {
  const state = toldMigration({ guest: "web" });
  const aheadUs = 2_000n;
  const told = state.migration.instants.map((instant) =>
    instant.hostId === "hb" ? { ...instant, atUnixUs: instant.atUnixUs + aheadUs } : instant,
  );
  const registered = told.find(({ kind }) => kind === InstantKind.REGISTERED) ?? assert.fail();
  // Sent before the source's was gone, and read back after.
  const deregistered = told.find(({ kind }) => kind === InstantKind.DEREGISTERED) ?? assert.fail();
  const sent = {
    ...registered,
    kind: InstantKind.REGISTRATION_SENT,
    atUnixUs: deregistered.atUnixUs + aheadUs - 300n,
  };
  const clockOffset = { destinationAheadUs: aheadUs, errorUs: 10n, measuredAtUnixUs: 0n, roundTrips: 4 };
  const ahead = { ...state, migration: { ...state.migration, instants: [...told, sent], clockOffset } };
  const view = viewOf();
  view.hearMigration(ahead);
  const { windows } = view.detail(state.migration.migrationId)?.row ?? assert.fail();
  const { spans } = receiptOf(ahead);
  const receiptUs = (wanted: SpanKind) => Number(spans.find(({ kind }) => kind === wanted)?.durationUs);
  assert.deepEqual(windows, {
    blackoutUs: receiptUs(SpanKind.BLACKOUT),
    blackHoleUs: receiptUs(SpanKind.UNREGISTERED),
    duplicateUs: receiptUs(SpanKind.DUPLICATE),
    overheadUs: receiptUs(SpanKind.ADDED),
  });
  assert.equal(windows.duplicateUs, 300);
});

test("progress is shown while a migration goes on, and not of one that has ended", () => {
  const view = viewOf();
  const open = toldMigration({ guest: "web", phase: Phase.TRANSFERRING });
  const { migrationId } = open.migration;
  const progress = {
    ...{ transferredBytes: 5n, remainingBytes: 25n, totalBytes: 100n },
    ...{ rateBitsPerSecond: 1n, passes: 1, expectedDowntimeMs: 0 },
  };
  const said = () =>
    event({ migrationId, hostId: "ha", event: { $case: "transferProgressed", value: { progress } } });
  view.hearMigration(open);
  view.hearEvent(...said());
  assert.equal(shown<MigrationRow>(view, "m").get(migrationId)?.copiedPercent, 75);
  view.hearMigration(toldMigration({ guest: "web", revision: 10n }));
  const revision = view.changes.revision;
  view.hearEvent(...said());
  assert.equal(view.changes.revision, revision);
});

test("the oldest ended migrations are forgotten beyond the number, and those that go on are not", () => {
  const view = viewOf({ migrations: 100, ageMs: 30 * DAY_MS });
  view.hearMigration(toldMigration({ guest: "open", atUnixMs: NOW_MS - DAY_MS, phase: Phase.TRANSFERRING }));
  for (let index = 0; index < 150; index++) {
    view.hearMigration(toldMigration({ guest: `web-${index}`, atUnixMs: NOW_MS - 1_000 * index }));
  }
  const guests = [...shown<MigrationRow>(view, "m").values()].map(({ guest }) => guest);
  assert.ok(guests.length <= 102 && guests.length >= 100, String(guests.length));
  assert.equal(view.migrationCount, guests.length);
  assert.ok(guests.includes("open") && guests.includes("web-0"));
});

test("what is too old is forgotten as time passes: migrations, alarms, silent hosts", () => {
  const view = viewOf({ migrations: 100, ageMs: 2 * DAY_MS });
  view.hearMigration(toldMigration({ guest: "old", atUnixMs: NOW_MS - 3 * DAY_MS }));
  view.hearMigration(toldMigration({ guest: "web", atUnixMs: NOW_MS }));
  view.hearEvent(
    ...event({
      hostId: "ha",
      event: { $case: "alarmRaised", value: { reason: "R", sentence: "S.", metadata: {} } },
    }),
  );
  view.hearHost(HostRecord.create({ hostId: "ha" }), NOW_MS);
  assert.deepEqual([shown(view, "m").size, shown(view, "n").size, shown(view, "h").size], [1, 1, 1]);
  view.sweep(NOW_MS + DAY_MS + 1);
  assert.deepEqual([shown(view, "m").size, shown(view, "n").size, shown(view, "h").size], [1, 1, 0]);
  view.sweep(NOW_MS + 2 * DAY_MS + 60_000);
  assert.deepEqual([shown(view, "m").size, shown(view, "n").size], [0, 0]);
});

test("a guest is where its CPUs started last, and what the host that gave it away says late counts no more", () => {
  const view = viewOf();
  const place = () => shown<GuestEntry>(view, "g").get("web");
  view.hearEvent(...started("ha"));
  assert.deepEqual(place(), { id: "web", host: "ha", cpus: "running", sinceMs: 5, drift: "" });
  view.hearEvent(...stopped("ha", 4n));
  assert.equal(place()?.cpus, "stopped");
  view.hearEvent(...started("hb", 4n));
  assert.deepEqual([place()?.host, place()?.cpus], ["hb", "running"]);
  view.hearEvent(...stopped("ha", 4n));
  assert.deepEqual([place()?.host, place()?.cpus], ["hb", "running"]);
  view.hearEvent(...handedOff("ha", 4n));
  view.hearEvent(...started("ha", 4n));
  view.hearEvent(...started("ha", 3n));
  assert.deepEqual([place()?.host, place()?.cpus], ["hb", "running"]);
});

test("a guest that was handed off is nowhere until it starts, and back where it is handed back", () => {
  const view = viewOf();
  const place = () => shown<GuestEntry>(view, "g").get("web");
  view.hearEvent(...started("ha"));
  view.hearEvent(...handedOff("ha", 4n));
  assert.equal(place(), undefined);
  view.hearEvent(
    ...event({
      hostId: "ha",
      fence: { epoch: 5n, revision: 0n },
      event: { $case: "sourceResumed", value: { runState: "running" } },
    }),
  );
  assert.equal(place()?.host, "ha");
  view.hearEvent(
    ...event({
      hostId: "ha",
      fence: { epoch: 5n, revision: 0n },
      event: { $case: "vmmLost", value: { sentence: "Gone." } },
    }),
  );
  assert.equal(place(), undefined);
});

test("a migration's end says where a guest is of whom the feed tells nothing any more", () => {
  const view = viewOf();
  view.hearMigration(toldMigration({ guest: "web", epoch: 4n }));
  assert.equal(shown<GuestEntry>(view, "g").get("web")?.host, "hb");
  const lost = toldMigration({ guest: "web", epoch: 6n, atUnixMs: NOW_MS + 1 });
  view.hearMigration({ ...lost, migration: { ...lost.migration, outcome: Outcome.GUEST_LOST } });
  assert.equal(shown(view, "g").size, 0);
});

test("drift marks a guest until it is mended, and both are told", () => {
  const view = viewOf();
  const drift = event({
    hostId: "ha",
    event: {
      $case: "registrationDrifted",
      value: { reason: "ENTRY_GONE", sentence: "It is gone.", noticedAtUnixUs: 0n },
    },
  });
  view.hearEvent(...started("ha"));
  view.hearEvent(...drift);
  view.hearEvent(...drift);
  assert.equal(shown<GuestEntry>(view, "g").get("web")?.drift, "ENTRY_GONE");
  view.hearEvent(
    ...event({ hostId: "ha", event: { $case: "registrationMended", value: { mendedAtUnixUs: 0n } } }),
  );
  assert.equal(shown<GuestEntry>(view, "g").get("web")?.drift, "");
  const kinds = [...shown<Notice>(view, "n").values()].map(({ kind }) => kind);
  assert.deepEqual(kinds, ["drift", "mended"]);
});

test("a host is alive, late, then silent, and its heartbeats alone are no changes", () => {
  const view = viewOf();
  const record = HostRecord.create({ hostId: "ha", target: "10.0.0.2:7443", version: "0.1.0" });
  const standing = () => shown<HostEntry>(view, "h").get("ha")?.standing;
  view.hearHost(record, NOW_MS);
  const revision = view.changes.revision;
  view.sweep(NOW_MS + 5_000);
  view.hearHost(record, NOW_MS + 5_000);
  assert.deepEqual([standing(), view.changes.revision], ["alive", revision]);
  assert.deepEqual(view.heard(10), [["ha", NOW_MS + 5_000]]);
  view.sweep(NOW_MS + 13_000);
  assert.equal(standing(), "late");
  view.sweep(NOW_MS + 21_000);
  assert.equal(standing(), "silent");
  view.hearHost(record, NOW_MS + 21_000);
  assert.equal(standing(), "alive");
  view.hearHost(record, NOW_MS);
  assert.deepEqual(view.heard(10), [["ha", NOW_MS + 21_000]]);
});

test("notices are bounded, and the newest are kept", () => {
  const view = viewOf();
  for (let index = 0; index < 1_200; index++) {
    const value = { reason: "R", sentence: `${index}`, metadata: {} };
    view.hearEvent(...event({ hostId: "ha", event: { $case: "alarmRaised", value } }));
  }
  const sentences = [...shown<Notice>(view, "n").values()].map(({ sentence }) => Number(sentence));
  assert.deepEqual([sentences.length, Math.min(...sentences)], [1_000, 200]);
});
