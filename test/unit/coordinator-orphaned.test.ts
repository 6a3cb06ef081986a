import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { newMigrationState } from "../../coordinator/migration/complete-state.ts";
import type { RecordStore, StoredRecord } from "../../coordinator/record/record-store.ts";
import { OrphanedMigrations } from "../../coordinator/runner/orphaned-migrations.ts";
import type { PeerPort } from "../../coordinator/runner/peer-port.ts";
import { DEFAULT_RUNNER_LIMITS } from "../../coordinator/runner/runner-ports.ts";
import { MigrationSpec, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { MigrationId } from "../../proto/ids.ts";
import { VirtualClock } from "./coordinator-world.ts";

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
const { takeOverAfterMs, takeOverCopyingAfterMs } = DEFAULT_RUNNER_LIMITS;

function openRecord(guestId: string, revision: number, committedBy: string): StoredRecord {
  return {
    record: GuestRecord.fromPartial({ guestId, committedBy, migration: { archived: false } }),
    revision,
  };
}

/** As `openRecord`, of a migration that is in the phase and waits for no command there. */
function recordIn(phase: Phase, guestId: string, revision: number, committedBy: string): StoredRecord {
  const spec = MigrationSpec.fromPartial({ guestId, sourceHostId: "ha", destinationHostId: "hb" });
  const state = newMigrationState(`${guestId}-1` as MigrationId, "r", spec, { epoch: 1n, revision: 1n }, 0n);
  const migration = { ...state, transferActive: true, migration: { ...state.migration, phase } };
  const record = GuestRecord.fromPartial({ guestId, committedBy });
  const done = ["beginTransfer"];
  return { record: { ...record, migration: { ...migration, source: { ...state.source, done } } }, revision };
}

/** Peers that go when told; this coordinator is the first for guests whose id begins with "mine", or all if alone. */
class ToldPeers implements PeerPort {
  readonly #listeners = new Set<(coordinatorId: string) => void>();
  readonly #heard = new Set(["c2", "c3"]);

  onGone(listener: (coordinatorId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  isAnothers(guestId: string, committedBy: string): boolean {
    return this.#heard.has(committedBy) || !(guestId.startsWith("mine") || this.#heard.size === 0);
  }

  goes(coordinatorId: string): void {
    this.#heard.delete(coordinatorId);
    for (const listener of this.#listeners) listener(coordinatorId);
  }
}

/** What the watch brings is pushed; the guests that were taken over are listed. */
function watch(t: TestContext, peers?: ToldPeers) {
  const clock = new VirtualClock();
  const brought = new Map<string, StoredRecord>();
  const queue: StoredRecord[] = [];
  let wake = (): void => {};
  const store: Partial<RecordStore> = {
    get: async (guestId) => brought.get(guestId) ?? null,
    watchAll: async function* (signal) {
      while (!signal.aborted) {
        const next = queue.shift();
        if (next !== undefined) yield next;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
  const taken: string[] = [];
  const closing = new AbortController();
  t.after(() => closing.abort());
  const ports = {
    store: store as RecordStore,
    clock,
    log: SILENT,
    ...(peers === undefined ? {} : { peers }),
  };
  const orphaned = new OrphanedMigrations(ports, DEFAULT_RUNNER_LIMITS, closing.signal, {
    onRecord: () => {},
    isDriven: () => false,
    isKnown: () => false,
    onOrphaned: ({ record }) => void taken.push(record.guestId),
  });
  orphaned.watch();
  const bring = async (stored: StoredRecord): Promise<void> => {
    brought.set(stored.record.guestId, stored);
    queue.push(stored);
    wake();
    for (let turn = 0; turn < 5; turn += 1) await nextTurn();
  };
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms);
    for (let turn = 0; turn < 5; turn += 1) await nextTurn();
  };
  return { bring, pass, taken };
}

describe("a migration that another coordinator drives", () => {
  it("is taken over once its record has stood still, counted from its newest commit", async (t) => {
    const { bring, pass, taken } = watch(t);
    await bring(openRecord("web", 1, "c2"));
    await pass(takeOverAfterMs - 1);
    await bring(openRecord("web", 2, "c2"));
    await pass(takeOverAfterMs - 1);
    assert.deepEqual(taken, []);
    await pass(1);
    assert.deepEqual(taken, ["web"]);
  });

  it("is not waited for longer where the watch begins anew and brings the same commit", async (t) => {
    const { bring, pass, taken } = watch(t);
    await bring(openRecord("web", 1, "c2"));
    await pass(takeOverAfterMs - 1);
    await bring(openRecord("web", 1, "c2"));
    await pass(1);
    assert.deepEqual(taken, ["web"]);
  });

  it("is taken over at once by the first of those that hear its coordinator go", async (t) => {
    const peers = new ToldPeers();
    const { bring, pass, taken } = watch(t, peers);
    await bring(openRecord("mine-1", 1, "c2"));
    await bring(openRecord("theirs", 2, "c2"));
    await bring(openRecord("mine-2", 3, "c3"));
    peers.goes("c2");
    await pass(0);
    assert.deepEqual(taken, ["mine-1"]);
    await pass(takeOverAfterMs);
    assert.deepEqual(taken, ["mine-1", "theirs", "mine-2"]);
  });

  it("is left to a coordinator that is heard while it only copies memory, within a bound", async (t) => {
    const { bring, pass, taken } = watch(t, new ToldPeers());
    await bring(recordIn(Phase.TRANSFERRING, "copies", 1, "c2"));
    await bring(recordIn(Phase.SWITCHING_OVER, "switches", 2, "c2"));
    await pass(takeOverAfterMs);
    assert.deepEqual(taken, ["switches"]);
    for (let ms = takeOverAfterMs; ms < takeOverCopyingAfterMs; ms += takeOverAfterMs) {
      assert.deepEqual(taken, ["switches"]);
      await pass(takeOverAfterMs);
    }
    assert.deepEqual(taken, ["switches", "copies"]);
  });

  it("is not left to one whose host does not answer, for it may answer here", async (t) => {
    const { bring, pass, taken } = watch(t, new ToldPeers());
    const { record, revision } = recordIn(Phase.TRANSFERRING, "web", 1, "c2");
    const { migration } = record;
    assert.ok(migration?.source !== undefined);
    const source = { ...migration.source, hostUnreachable: true };
    await bring({ record: { ...record, migration: { ...migration, source } }, revision });
    await pass(takeOverAfterMs);
    assert.deepEqual(taken, ["web"]);
  });

  it("is taken over at once where the next coordinator goes as well", async (t) => {
    const peers = new ToldPeers();
    const { bring, pass, taken } = watch(t, peers);
    await bring(recordIn(Phase.TRANSFERRING, "theirs", 1, "c2"));
    peers.goes("c2");
    await pass(takeOverAfterMs);
    assert.deepEqual(taken, []);
    peers.goes("c3");
    await pass(0);
    assert.deepEqual(taken, ["theirs"]);
  });
});
