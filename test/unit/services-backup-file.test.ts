import assert from "node:assert/strict";
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { encodeGuestRecord, encodeMigrationState } from "../../coordinator/record/record-codec.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { GuestRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import { GUEST_BUCKET, HISTORY_BUCKET } from "../../proto/subjects.ts";
import type { BackupEntry } from "../../services/backup/backup-line.ts";
import { checkBackup, readBackup } from "../../services/backup/read-backup.ts";
import { type BackupStore, restoreEntries } from "../../services/backup/restore-backup.ts";
import { writeBackup } from "../../services/backup/write-backup.ts";
import { newFolder } from "./program-process.ts";

const HEAD = { createdAt: "2026-11-30T18:00:00.000Z", feedLastSequence: "77" };
const M1 = "web-7-mk3v0q8ya1z9";

function guest(guestId: string, epoch: bigint, revision = 1n): BackupEntry {
  const value = Buffer.from(encodeGuestRecord(GuestRecord.create({ guestId, epoch, revision })));
  return { bucket: GUEST_BUCKET, key: guestId, value: value.toString() };
}

function ended(migrationId: string, reason = "ü \u2028\n"): BackupEntry {
  const state = MigrationState.create({ migration: { migrationId, reason } });
  return {
    bucket: HISTORY_BUCKET,
    key: migrationId,
    value: Buffer.from(encodeMigrationState(state)).toString(),
  };
}

async function* from<T>(items: readonly T[]): AsyncGenerator<T, void, undefined> {
  yield* items;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}

const ENTRIES = [guest("web-7", 3n), guest("db-1", 1n), ended(M1)];

describe("a backup's file", () => {
  it("gives back what was put in, byte by byte, and is for its owner's eyes only", async (t) => {
    const folder = await newFolder(t);
    const path = join(folder, "backup");
    assert.deepEqual(await writeBackup(path, HEAD, from(ENTRIES)), { guests: 2, migrations: 1 });
    assert.deepEqual(await checkBackup(path), { head: HEAD, guests: 2, migrations: 1 });
    assert.deepEqual(await collect(readBackup(path)), ENTRIES);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(folder), ["backup"]);
  });

  it("replaces no file that is there", async (t) => {
    const path = join(await newFolder(t), "backup");
    await writeFile(path, "mine");
    await assert.rejects(writeBackup(path, HEAD, from(ENTRIES)), {
      code: "ALREADY_EXISTS",
      reason: "FILE_EXISTS",
      field: "FILE",
    });
    assert.equal(await readFile(path, "utf8"), "mine");
  });

  it("is not there where the records could not all be read", async (t) => {
    const folder = await newFolder(t);
    const away = new SwitchoverError("UNAVAILABLE", "NATS is away.", { reason: "NATS_UNREACHABLE" });
    const broken = (async function* () {
      yield* ENTRIES;
      throw away;
    })();
    await assert.rejects(writeBackup(join(folder, "backup"), HEAD, broken), away);
    assert.deepEqual(await readdir(folder), []);
    await assert.rejects(writeBackup(join(folder, "no/backup"), HEAD, from(ENTRIES)), {
      code: "INVALID_ARGUMENT",
      reason: "FILE_UNWRITABLE",
    });
  });

  const DAMAGES: readonly (readonly [string, RegExp, (lines: readonly string[]) => readonly string[]])[] = [
    ["is empty", /empty|no end/, () => []],
    ["lacks its end", /no end/, (lines) => lines.slice(0, -1)],
    ["lacks a record", /sum is wrong/, (lines) => [...lines.slice(0, 1), ...lines.slice(2)]],
    [
      "has a changed record",
      /sum is wrong/,
      (lines) => lines.map((line) => line.replace('\\"3\\"', '\\"4\\"')),
    ],
    ["lacks its head", /no head/, (lines) => lines.slice(1)],
    ["goes on after its end", /after the end/, (lines) => [...lines, lines[1] ?? ""]],
    ["has another form", /form 2/, (lines) => lines.map((line) => line.replace(/(backup":)1/, "$12"))],
    ["has a line that is no JSON", /Line 2 is no JSON/, ([head = ""]) => [head, "{"]],
    [
      "has an unknown bucket",
      /Line 2 is none/,
      ([head = ""]) => [head, '{"bucket":"x","key":"k","value":"{}"}'],
    ],
    [
      "has a record under another's key",
      /Line 2 holds "web-7" under the key "web-8"/,
      (lines) => lines.map((line) => line.replace('"key":"web-7"', '"key":"web-8"')),
    ],
    [
      "has a record that no coordinator wrote",
      /^SwitchoverError: Line 2 holds a record that cannot be read under the key "web-7"/,
      (lines) => lines.map((line) => line.replace(/"value":".*"/, '"value":"["')),
    ],
  ];
  for (const [what, sentence, damage] of DAMAGES) {
    it(`is refused where it ${what}`, async (t) => {
      const path = join(await newFolder(t), "backup");
      await writeBackup(path, HEAD, from(ENTRIES));
      const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
      const damaged = damage(lines);
      assert.notDeepEqual(damaged, lines);
      await writeFile(path, damaged.map((line) => `${line}\n`).join(""));
      await assert.rejects(checkBackup(path), sentence);
    });
  }

  it("is INVALID_ARGUMENT where it is not there", async () => {
    await assert.rejects(checkBackup("/nowhere/backup"), { code: "INVALID_ARGUMENT", field: "FILE" });
  });
});

/** The buckets in memory; the first writes find that somebody else's was first. */
class MemoryBackupStore implements Pick<BackupStore, "read" | "write"> {
  readonly values = new Map<string, BackupEntry>();
  overtakenBy: BackupEntry[] = [];
  #revision = 0;

  async read(_bucket: string, key: string) {
    const value = this.values.get(key)?.value ?? null;
    return { value, revision: value === null ? 0 : this.#revision };
  }

  async write(entry: BackupEntry, expectedRevision: number): Promise<void> {
    const other = this.overtakenBy.shift();
    if (other !== undefined) this.#put(other);
    const isAsRead = expectedRevision === (this.values.has(entry.key) ? this.#revision : 0);
    if (!isAsRead) throw new SwitchoverError("ABORTED", "Overtaken.", { reason: "REVISION_CONFLICT" });
    this.#put(entry);
  }

  #put(entry: BackupEntry): void {
    this.#revision += 1;
    this.values.set(entry.key, entry);
  }
}

describe("a restore", () => {
  it("writes what is missing, and the second time nothing", async () => {
    const store = new MemoryBackupStore();
    assert.deepEqual(await restoreEntries(store, from(ENTRIES), "write"), { restored: 3, kept: 0 });
    assert.deepEqual([...store.values.values()], ENTRIES);
    assert.deepEqual(await restoreEntries(store, from(ENTRIES), "write"), { restored: 0, kept: 3 });
  });

  it("replaces an older record and never a newer one, by epoch, then revision", async () => {
    const CASES = [
      [guest("web-7", 2n, 9n), guest("web-7", 3n, 1n), "restored"],
      [guest("web-7", 3n, 1n), guest("web-7", 3n, 2n), "restored"],
      [guest("web-7", 3n, 2n), guest("web-7", 3n, 2n), "kept"],
      [guest("web-7", 3n, 2n), guest("web-7", 3n, 1n), "kept"],
      [guest("web-7", 4n, 1n), guest("web-7", 3n, 9n), "kept"],
      [ended(M1, "stands"), ended(M1, "comes"), "kept"],
    ] as const;
    for (const [standing, entry, outcome] of CASES) {
      const store = new MemoryBackupStore();
      store.values.set(standing.key, standing);
      const counts = await restoreEntries(store, from([entry]), "write");
      assert.deepEqual(counts, outcome === "restored" ? { restored: 1, kept: 0 } : { restored: 0, kept: 1 });
      assert.equal(store.values.get(entry.key), outcome === "restored" ? entry : standing);
    }
  });

  it("changes nothing in a trial, and counts the same", async () => {
    const store = new MemoryBackupStore();
    store.values.set("web-7", guest("web-7", 9n));
    assert.deepEqual(await restoreEntries(store, from(ENTRIES), "trial"), { restored: 2, kept: 1 });
    assert.deepEqual([...store.values.keys()], ["web-7"]);
  });

  it("looks again where a coordinator writes at the same time", async () => {
    const store = new MemoryBackupStore();
    store.overtakenBy = [guest("web-7", 2n), guest("web-7", 5n)];
    assert.deepEqual(await restoreEntries(store, from([guest("web-7", 3n)]), "write"), {
      restored: 0,
      kept: 1,
    });
    assert.deepEqual(store.values.get("web-7"), guest("web-7", 5n));
  });
});
