import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { milliseconds, roughly } from "../../services/observer/page/figures.ts";
import {
  type Filter,
  filterQuery,
  NO_FILTER,
  NOT_ENDED,
  parseFilter,
  passing,
} from "../../services/observer/page/filter.ts";
import { PageModel } from "../../services/observer/page/model.ts";
import { planTimeline } from "../../services/observer/page/timeline-plan.ts";
import type { MigrationRow } from "../../services/observer/page/wire.ts";
import { migrationDetail } from "../../services/observer/view/migration-detail.ts";
import { migrationRow } from "../../services/observer/view/migration-row.ts";
import { type ToldMigration, toldMigration } from "../observer/told-migration.ts";

const row = (told: ToldMigration): MigrationRow => migrationRow(toldMigration(told));

const rowsOfAge = Array.from({ length: 10 }, (_, index) => row({ guest: "web", atUnixMs: 1e12 + index }));

describe("the page's model", () => {
  it("lists the newest first, and each once however often it changes", () => {
    const model = new PageModel();
    const [first, second] = [row({ guest: "a", atUnixMs: 1e12 }), row({ guest: "b", atUnixMs: 2e12 })];
    model.hear({
      from: "start",
      more: false,
      changes: [
        ["m", first.id, first],
        ["m", second.id, second],
      ],
    });
    const changed = { ...first, phase: "completing" };
    model.hear({ from: "after", more: false, changes: [["m", first.id, changed]] });
    assert.deepEqual(model.rows, [second, changed]);
    model.hear({ from: "after", more: false, changes: [["m", second.id, null]] });
    assert.deepEqual(model.rows, [changed]);
  });

  it("is sorted as if it were sorted anew, whatever comes and goes", () => {
    const change = fc.record({ id: fc.nat(30), phase: fc.nat(2), isGone: fc.boolean() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 120 }), (changes) => {
        const model = new PageModel();
        model.hear({ from: "start", more: false, changes: [] });
        const there = new Map<string, MigrationRow>();
        for (const { id, isGone, phase } of changes) {
          // Some are of the same millisecond.
          const row = { ...rowsOfAge[id % 10], id: `m-${id}`, phase: `${phase}` } as MigrationRow;
          model.hear({ from: "after", more: false, changes: [["m", row.id, isGone ? null : row]] });
          if (isGone) there.delete(row.id);
          else there.set(row.id, row);
          assert.equal(model.rows.length, there.size);
        }
        const sorted = [...there.values()].sort(
          (left, right) => right.requestedAtMs - left.requestedAtMs || (left.id < right.id ? 1 : -1),
        );
        assert.deepEqual(model.rows, sorted);
      }),
    );
  });

  it("shows what it had until what begins anew is whole, also where it comes in two connections", () => {
    const model = new PageModel();
    const [old, first, second] = ["old", "first", "second"].map((guest) => row({ guest }));
    if (old === undefined || first === undefined || second === undefined) assert.fail();
    model.hear({ from: "start", more: false, changes: [["m", old.id, old]] });
    model.hear({ from: "start", more: true, changes: [["m", first.id, first]] });
    assert.deepEqual([model.rows, model.isWhole], [[old], true]);
    model.hear({ from: "after", more: true, changes: [["m", second.id, second]] });
    assert.deepEqual(model.rows, [old]);
    model.hear({ from: "after", more: false, changes: [] });
    assert.deepEqual(model.rows.map(({ guest }) => guest).sort(), ["first", "second"]);
  });

  it("passes over kinds that it does not know", () => {
    const model = new PageModel();
    model.hear({ from: "start", more: false, changes: [["later", "x", {}] as never] });
    assert.deepEqual(model.rows, []);
  });
});

describe("the page's filter", () => {
  const rows = [
    row({ guest: "web-1", from: "ha", to: "hb", labels: { team: "blue", drain: "ha" } }),
    row({ guest: "web-2", from: "hb", to: "hc", phase: Phase.FAILED, reason: "Host hc does not answer." }),
    row({ guest: "db-1", from: "hc", to: "ha", phase: Phase.TRANSFERRING, labels: { team: "bluest" } }),
    row({ guest: "db-2", from: "hc", to: "hd", phase: Phase.AMBIGUOUS }),
  ];
  const guestsOf = (filter: Partial<Filter>) =>
    rows.filter(passing({ ...NO_FILTER, ...filter })).map(({ guest }) => guest);

  it("finds by all words, wherever they are and in any case", () => {
    assert.deepEqual(guestsOf({ text: "WEB" }), ["web-1", "web-2"]);
    assert.deepEqual(guestsOf({ text: "answer  web" }), ["web-2"]);
    assert.deepEqual(guestsOf({ text: "web db" }), []);
  });

  it("finds by phase, standing, or what has not ended", () => {
    assert.deepEqual(guestsOf({ phase: "completed" }), ["web-1"]);
    assert.deepEqual(guestsOf({ phase: "transferring" }), ["db-1"]);
    assert.deepEqual(guestsOf({ phase: "attention" }), ["db-2"]);
    assert.deepEqual(guestsOf({ phase: NOT_ENDED }), ["db-1", "db-2"]);
  });

  it("finds by either host, and by a label's key or key and value", () => {
    assert.deepEqual(guestsOf({ host: "ha" }), ["web-1", "db-1"]);
    assert.deepEqual(guestsOf({ label: "team" }), ["web-1", "db-1"]);
    assert.deepEqual(guestsOf({ label: "team=blue" }), ["web-1"]);
    assert.deepEqual(guestsOf({ label: "team=blue", host: "hc" }), []);
  });

  it("is the same after it stood in an address", () => {
    const filter = { text: "a&b =c", phase: NOT_ENDED, host: "ha", label: "drain=ü" };
    assert.deepEqual(parseFilter(filterQuery(filter)), filter);
    assert.equal(filterQuery(NO_FILTER), "");
    assert.deepEqual(parseFilter("nonsense&x=y"), NO_FILTER);
  });
});

describe("the timeline's plan", () => {
  const planOf = (told: ToldMigration) => planTimeline(migrationDetail(toldMigration(told)));

  it("has each NIC on both hosts, with the window in which it is on neither", () => {
    const plan = planOf({ guest: "web", nics: 2, blackoutUs: 10_000 }) ?? assert.fail();
    assert.deepEqual(
      plan.groups.map(({ of, title }) => [of, title]),
      [
        ["cpus", "CPUs"],
        ["nic", "eth0 52:54:00:5e:00:01"],
        ["nic", "eth1 52:54:00:5e:00:02"],
      ],
    );
    assert.deepEqual(plan.blackout, { fromUs: 0, toUs: 10_000 });
    const [, nic] = plan.groups;
    assert.deepEqual(nic?.gap, { kind: "neither", fromUs: 600, toUs: 5_820 });
    assert.deepEqual(
      nic?.lanes.map(({ bar, host }) => [host, bar?.fromUs, bar?.toUs]),
      [
        ["ha", plan.fromUs, 600],
        ["hb", 5_820, plan.toUs],
      ],
    );
  });

  it("holds every instant, in order, and round ticks within", () => {
    for (const blackoutUs of [300, 8_123, 2_000_000]) {
      const plan = planOf({ guest: "web", blackoutUs }) ?? assert.fail();
      const times = plan.marks.map(({ instant }) => instant.atUs);
      assert.deepEqual(
        times,
        [...times].sort((left, right) => left - right),
      );
      assert.ok(times.every((us) => us > plan.fromUs && us < plan.toUs));
      assert.ok(plan.ticksUs.length >= 4 && plan.ticksUs.length <= 11, String(plan.ticksUs));
      assert.ok(plan.ticksUs.includes(0) && plan.ticksUs.every((us) => us >= plan.fromUs && us <= plan.toUs));
    }
  });

  it("is none where no switchover took place", () => {
    assert.equal(planOf({ guest: "web", phase: Phase.CANCELLED }), null);
  });

  it("says both where the MAC was registered at the destination first", () => {
    const detail = migrationDetail(toldMigration({ guest: "web" }));
    const instants = detail.instants.map((one) => (one.kind === "REGISTERED" ? { ...one, atUs: 10 } : one));
    const nic = planTimeline({ ...detail, instants })?.groups[1];
    assert.equal(nic?.gap?.kind, "both");
  });

  it("is stretched by no announcement that comes long after, which keeps its number in the table", () => {
    const detail = migrationDetail(toldMigration({ guest: "web", blackoutUs: 10_000 }));
    const late = { ...(detail.instants[0] ?? assert.fail()), kind: "ANNOUNCED", atUs: 750_000 };
    const plan = planTimeline({ ...detail, instants: [...detail.instants, late] }) ?? assert.fail();
    assert.ok(plan.toUs < 20_000, `it ends at ${plan.toUs} us`);
    assert.deepEqual(
      plan.marks.map(({ number }) => number),
      detail.instants.filter(({ atUs }) => atUs <= plan.toUs).map((_, index) => index + 1),
    );
  });
});

describe("the page's figures", () => {
  it("are those of a receipt, to the microsecond", () => {
    assert.deepEqual([11_592, 0, -1, null].map(milliseconds), ["11.592", "0.000", "-0.001", "–"]);
  });

  it("are rough where a glance is enough", () => {
    const ages = [-5, 420, 4_260, 125_000, 7_300_000, 200_000_000];
    assert.deepEqual(ages.map(roughly), ["0 ms", "420 ms", "4.3 s", "2 min", "2 h", "2 d"]);
  });
});
