import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { Admission } from "../../coordinator/admission/admission.ts";
import { completeState } from "../../coordinator/migration/complete-state.ts";
import { isTerminal } from "../../coordinator/migration/phase-edges.ts";
import { transition } from "../../coordinator/migration/transition.ts";
import { claimGuest, commitState } from "../../coordinator/record/guest-record.ts";
import type { StoredRecord } from "../../coordinator/record/record-store.ts";
import { type MigrationSpec, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestId } from "../../proto/ids.ts";
import { type LaggingWatch, SlotBucket, TIGHT } from "./admission-world.ts";
import { specOf } from "./coordinator-story.ts";
import { MemoryStore, VirtualClock } from "./coordinator-world.ts";

/**
 * Several coordinators' doors over one store, each of which hears records and slots as late as a schedule lets it, and
 * dies when the schedule says so. Whatever happens: no limit is exceeded; and once all is well again everybody gets in.
 */
const COORDINATORS = 3;
const GUESTS = 9;
const HOSTS = ["ha", "hb", "hc"];

interface Door {
  readonly admission: Admission;
  readonly watches: readonly LaggingWatch[];
  readonly dead: AbortController;
  readonly entered: Set<string>;
  /** Revisions of records that it has not heard yet come behind this. */
  heardRevision: number;
}

type Step =
  | { readonly t: "ask"; readonly guest: number; readonly at: number; readonly spec: Partial<MigrationSpec> }
  | { readonly t: "hear"; readonly at: number; readonly slots: number; readonly records: boolean }
  | { readonly t: "end"; readonly guest: number }
  | { readonly t: "cancel"; readonly guest: number }
  | { readonly t: "crash"; readonly at: number }
  | { readonly t: "fail"; readonly how: "lost" | "unknown" }
  | { readonly t: "pass"; readonly ms: number };

class Cloud {
  readonly clock = new VirtualClock();
  readonly store = new MemoryStore();
  readonly bucket = new SlotBucket();
  readonly doors: Door[] = [];
  asked = 0;

  constructor() {
    for (let index = 0; index < COORDINATORS; index += 1) this.doors.push(this.#open());
  }

  #open(): Door {
    const dead = new AbortController();
    const slots = this.bucket.storeOf(dead.signal);
    const store = { get: (guestId: GuestId) => this.store.get(guestId) };
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const admission = new Admission({ slots, store, clock: this.clock, log }, TIGHT, dead.signal);
    return { admission, watches: slots.watches, dead, entered: new Set(), heardRevision: 0 };
  }

  async play(step: Step): Promise<void> {
    switch (step.t) {
      case "ask":
        return this.#ask(`g${step.guest}` as GuestId, step.at, step.spec);
      case "hear": {
        const door = this.doors[step.at];
        for (const watch of door?.watches ?? []) watch.advance(step.slots);
        if (step.records && door !== undefined) await this.#hearRecords(door);
        return;
      }
      case "end":
        return this.#change(`g${step.guest}` as GuestId, (phase) => phase === Phase.PREPARING, "end");
      case "cancel":
        return this.#change(`g${step.guest}` as GuestId, (phase) => phase === Phase.PENDING, "cancel");
      case "crash":
        this.doors[step.at]?.dead.abort();
        this.doors[step.at] = this.#open();
        return;
      case "fail":
        this.bucket.failures.push(step.how);
        return;
      case "pass":
        this.clock.advance(step.ms);
    }
  }

  async #ask(guestId: GuestId, at: number, change: Partial<MigrationSpec>): Promise<void> {
    const found = await this.store.get(guestId);
    this.asked += 1;
    const spec = specOf({ guestId, ...change });
    const request = { requestId: `r${this.asked}`, guestId, spec };
    const claim = claimGuest(
      found?.record ?? null,
      request,
      BigInt(this.clock.unixUs()),
      this.asked / 10_000,
    );
    if (claim.t !== "claimed") return;
    const stored = this.store.put(claim.record);
    const door = this.doors[at];
    if (door !== undefined) this.#enter(door, stored, "asked here");
  }

  #enter(door: Door, stored: StoredRecord, standby: "asked here" | "taken over"): void {
    if (stored.record.migration === undefined) return;
    const state = completeState(stored.record.migration);
    const { migrationId } = state.migration;
    if (state.migration.phase !== Phase.PENDING || door.entered.has(migrationId)) return;
    door.entered.add(migrationId);
    door.admission.enter(state, standby, () => {
      if (!door.dead.signal.aborted) void this.#begin(state.migration.spec.guestId as GuestId, migrationId);
    });
  }

  /** As a migration's writer does, by compare-and-set: whoever is first. */
  async #begin(guestId: GuestId, migrationId: string): Promise<void> {
    const found = await this.store.get(guestId);
    const migration = found?.record.migration;
    if (found === null || migration === undefined) return;
    const state = completeState(migration);
    if (state.migration.migrationId !== migrationId || state.migration.phase !== Phase.PENDING) return;
    const next = transition(state, { t: "Admitted" }, BigInt(this.clock.unixUs())).state;
    await this.store.update(commitState(found.record, next), found.revision).catch(() => undefined);
  }

  async #change(guestId: GuestId, may: (phase: Phase) => boolean, how: "end" | "cancel"): Promise<void> {
    const found = await this.store.get(guestId);
    if (found?.record.migration === undefined) return;
    let state = completeState(found.record.migration);
    if (!may(state.migration.phase)) return;
    const at = BigInt(this.clock.unixUs());
    if (how === "cancel") state = transition(state, { t: "CancelAsked" }, at).state;
    else {
      const error = { code: "NOT_FOUND", reason: "GUEST_UNKNOWN", sentence: "It is not here." } as const;
      for (const side of ["source", "destination"] as const) {
        state = transition(
          state,
          { t: "CommandFailed", side, epoch: 0n, name: "preflight", error },
          at,
        ).state;
      }
    }
    assert.ok(isTerminal(state.migration.phase));
    await this.store.update(commitState(found.record, state), found.revision);
  }

  /** Each record as it stands, in order; a coordinator takes over what waits. */
  async #hearRecords(door: Door): Promise<void> {
    const records: StoredRecord[] = [];
    for await (const guestId of this.store.keys()) {
      const stored = await this.store.get(guestId);
      if (stored !== null && stored.revision > door.heardRevision) records.push(stored);
    }
    for (const stored of records.sort((left, right) => left.revision - right.revision)) {
      door.heardRevision = stored.revision;
      door.admission.hear(stored);
      this.#enter(door, stored, "taken over");
    }
  }

  async phases(): Promise<{ readonly phase: Phase; readonly spec: MigrationSpec }[]> {
    const found: { readonly phase: Phase; readonly spec: MigrationSpec }[] = [];
    for await (const guestId of this.store.keys()) {
      const migration = (await this.store.get(guestId))?.record.migration;
      if (migration !== undefined) found.push(completeState(migration).migration);
    }
    return found;
  }

  /** By the records alone, which are the truth. */
  async assertWithinLimits(): Promise<void> {
    const underWay = (await this.phases()).filter(
      ({ phase }) => phase !== Phase.PENDING && !isTerminal(phase),
    );
    assert.ok(underWay.length <= TIGHT.inAll, `${underWay.length} are under way`);
    for (const host of HOSTS) {
      const leaving = underWay.filter(({ spec }) => spec.sourceHostId === host).length;
      const coming = underWay.filter(({ spec }) => spec.destinationHostId === host).length;
      assert.ok(leaving <= TIGHT.perSource, `${leaving} leave ${host}`);
      assert.ok(coming <= TIGHT.perDestination, `${coming} come to ${host}`);
    }
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < 6; turn += 1) await nextTurn();
  }

  /** All is heard, time passes, and what begins ends: everybody has had its turn, and no slot is left over. */
  async assertAllGetIn(): Promise<void> {
    let open = 1;
    let slotsLeft = 0;
    for (let round = 0; round < 80 && open + slotsLeft > 0; round += 1) {
      for (let each = 0; each < COORDINATORS; each += 1)
        await this.play({ t: "hear", at: each, slots: 100, records: true });
      await this.settle();
      await this.assertWithinLimits();
      for (let each = 0; each < GUESTS; each += 1) await this.play({ t: "end", guest: each });
      this.clock.advance(700);
      await this.settle();
      open = (await this.phases()).filter(({ phase }) => !isTerminal(phase)).length;
      slotsLeft = this.bucket.values.filter(({ slot }) => !slot.released).length;
    }
    assert.equal(open, 0, `${open} never got in`);
    assert.equal(slotsLeft, 0, `${slotsLeft} slots are left over`);
  }

  close(): void {
    for (const { dead } of this.doors) dead.abort();
  }
}

const host = fc.constantFrom(...HOSTS);
const guest = fc.nat(GUESTS - 1);
const at = fc.nat(COORDINATORS - 1);
const STEPS: fc.Arbitrary<Step>[] = [
  fc.record({ guest, at, from: host, to: host, priority: fc.integer({ min: -1, max: 1 }) }).map((ask) => ({
    t: "ask",
    guest: ask.guest,
    at: ask.at,
    spec: { sourceHostId: ask.from, destinationHostId: ask.to, priority: ask.priority },
  })),
  fc.record({
    t: fc.constant("hear"),
    at,
    slots: fc.integer({ min: 0, max: 3 }),
    records: fc.boolean(),
  }),
  fc.record({ t: fc.constant("end"), guest }),
  fc.record({ t: fc.constant("cancel"), guest }),
  fc.record({ t: fc.constant("crash"), at }),
  fc.record({ t: fc.constant("fail"), how: fc.constantFrom("lost" as const, "unknown" as const) }),
  fc.record({ t: fc.constant("pass"), ms: fc.constantFrom(1, 11, 250, 600, 2_100) }),
] as fc.Arbitrary<Step>[];

const [ask, hear, end, cancel, crash, fail, pass] = STEPS as [
  fc.Arbitrary<Step>,
  fc.Arbitrary<Step>,
  fc.Arbitrary<Step>,
  fc.Arbitrary<Step>,
  fc.Arbitrary<Step>,
  fc.Arbitrary<Step>,
  fc.Arbitrary<Step>,
];
const schedule = fc.array(
  fc.oneof(
    { arbitrary: ask, weight: 6 },
    { arbitrary: hear, weight: 10 },
    { arbitrary: end, weight: 2 },
    { arbitrary: cancel, weight: 1 },
    { arbitrary: crash, weight: 1 },
    { arbitrary: fail, weight: 1 },
    { arbitrary: pass, weight: 4 },
  ),
  { minLength: 20, maxLength: 120 },
);

test("no limit is ever exceeded, whatever coordinators lag or crash, and nobody waits for ever", async () => {
  const property = fc.asyncProperty(schedule, async (steps) => {
    const cloud = new Cloud();
    try {
      for (const step of steps) {
        await cloud.play(step);
        await cloud.settle();
        await cloud.assertWithinLimits();
      }
      await cloud.assertAllGetIn();
    } finally {
      cloud.close();
    }
  });
  await fc.assert(property, { numRuns: 100, seed: 5, includeErrorInReport: true });
});
