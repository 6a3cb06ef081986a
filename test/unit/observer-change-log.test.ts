import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ChangeLog } from "../../services/observer/view/change-log.ts";

type Told = readonly [string, string, unknown];
const read = (changes: readonly string[]): readonly Told[] =>
  changes.map((change) => JSON.parse(change) as Told);

test("a reader at the start gets each key once, as it stands", () => {
  const log = new ChangeLog();
  log.put("m", "a", { n: 1 });
  log.put("m", "b", { n: 2 });
  log.put("m", "a", { n: 3 });
  log.put("m", "c", { n: 4 });
  log.remove("m", "c");
  const slice = log.after(0, 10);
  assert.deepEqual([slice.from, slice.more, slice.revision], ["start", false, log.revision]);
  assert.deepEqual(read(slice.changes), [
    ["m", "b", { n: 2 }],
    ["m", "a", { n: 3 }],
  ]);
});

test("a reader goes on after any revision, slice by slice, and is told of what is gone", () => {
  const log = new ChangeLog();
  for (const id of ["a", "b", "c", "d"]) log.put("h", id, { id });
  const first = log.after(0, 2);
  assert.deepEqual([first.from, first.more, first.changes.length], ["start", true, 2]);
  log.remove("h", "a");
  const second = log.after(first.revision, 2);
  assert.deepEqual([second.from, second.more], ["after", true]);
  const third = log.after(second.revision, 2);
  assert.deepEqual([third.more, read(third.changes)], [false, [["h", "a", null]]]);
  assert.deepEqual(log.after(log.revision, 2).changes, []);
});

test("a value that is what it was is no change", () => {
  const log = new ChangeLog();
  assert.equal(log.put("m", "a", { n: 1 }), true);
  assert.equal(log.put("m", "a", { n: 1 }), false);
  assert.equal(log.remove("m", "b"), false);
  assert.equal(log.revision, 1);
});

test("ids with quotes and brackets are ids as any other", () => {
  const log = new ChangeLog();
  log.put("n", '"],{}\u2028<script>', { sentence: "</script>" });
  assert.deepEqual(read(log.after(0, 1).changes), [["n", '"],{}\u2028<script>', { sentence: "</script>" }]]);
});

test("a reader of what is forgotten, or of what never was, begins anew; memory is bounded", () => {
  const log = new ChangeLog();
  log.put("m", "stays", {});
  const old = log.revision;
  for (let index = 0; index < 12_000; index++) {
    log.put("m", `m-${index}`, { index });
    log.remove("m", `m-${index}`);
  }
  const slice = log.after(old, 20_000);
  assert.deepEqual([slice.from, read(slice.changes)], ["start", [["m", "stays", {}]]]);
  assert.equal(log.after(log.revision + 1, 10).from, "start");
  const recent = log.after(log.revision - 5, 20_000);
  assert.deepEqual([recent.from, recent.changes.length <= 5], ["after", true]);
});

test("whatever happens, and wherever readers stop, they end with what there is", () => {
  const step = fc.record({ id: fc.nat(5), value: fc.option(fc.nat(3)), reads: fc.nat(3) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const log = new ChangeLog();
      const there = new Map<string, unknown>();
      const reader = new Map<string, unknown>();
      let revision = 0;
      const readOn = (atMost: number): boolean => {
        const slice = log.after(revision, atMost);
        if (slice.from === "start") reader.clear();
        for (const [, id, value] of read(slice.changes)) {
          if (value === null) reader.delete(id);
          else reader.set(id, value);
        }
        revision = slice.revision;
        return slice.more;
      };
      for (const { id, reads, value } of steps) {
        if (value === null) log.remove("m", String(id));
        else log.put("m", String(id), { value });
        if (value === null) there.delete(String(id));
        else there.set(String(id), { value });
        if (reads > 0) readOn(reads);
      }
      while (readOn(2));
      assert.deepEqual(new Map([...reader].sort()), new Map([...there].sort()));
    }),
  );
});
