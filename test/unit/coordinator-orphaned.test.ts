import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { RecordStore, StoredRecord } from "../../coordinator/record/record-store.ts";
import { OrphanedMigrations } from "../../coordinator/runner/orphaned-migrations.ts";
import type { PeerPort } from "../../coordinator/runner/peer-port.ts";
import { DEFAULT_RUNNER_LIMITS } from "../../coordinator/runner/runner-ports.ts";
import { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import { VirtualClock } from "./coordinator-world.ts";

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
const { takeOverAfterMs } = DEFAULT_RUNNER_LIMITS;

function openRecord(guestId: string, revision: number, committedBy: string): StoredRecord {
  return {
    record: GuestRecord.fromPartial({ guestId, committedBy, migration: { archived: false } }),
    revision,
  };
}

/** Peers whose departures are told here; this coordinator is the first for guests whose id begins with "mine". */
class ToldPeers implements PeerPort {
  readonly #listeners = new Set<(coordinatorId: string) => void>();

  onGone(listener: (coordinatorId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  isFirstFor(guestId: string): boolean {
    return guestId.startsWith("mine");
  }

  goes(coordinatorId: string): void {
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
});
