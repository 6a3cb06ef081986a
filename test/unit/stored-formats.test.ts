/**
 * What version 0.1.0 stored is read by this one, and what a later one stores costs this one no more than it must. The files
 * are that version's own (test/fleet/record-fixtures.ts) and are never changed; each minor version adds a folder.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { remember } from "../../agent/guest/remember.ts";
import { decodeJournal, encodeJournalEntry } from "../../agent/journal/journal-codec.ts";
import { agentEventOf } from "../../coordinator/migration/agent-event.ts";
import { completeState } from "../../coordinator/migration/complete-state.ts";
import { outstandingCommands } from "../../coordinator/migration/transition.ts";
import {
  decodeGuestRecord,
  decodeMigrationState,
  encodeGuestRecord,
  encodeMigrationState,
  readGuestRecord,
} from "../../coordinator/record/record-codec.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import { readJson } from "../../proto/read-json.ts";
import { repositoryRoot } from "../lab/repository-root.ts";
import { judgeFeed } from "../lab/witness/feed-judgement.ts";
import { World } from "./coordinator-world.ts";

const FIXTURES = join(repositoryRoot(), "test/unit/fixtures");
const VERSIONS = readdirSync(FIXTURES).filter((name) => name.startsWith("stored-"));

function read(version: string, name: string): string {
  return readFileSync(join(FIXTURES, version, name), "utf8");
}

function bytes(json: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(json));
}

function parsed(encoded: Uint8Array): unknown {
  return JSON.parse(Buffer.from(encoded).toString("utf8"));
}

/** With a field more in every message, as a later version may have added one. */
function withNewerFields(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(withNewerFields);
  if (typeof json !== "object" || json === null) return json;
  const fields = Object.entries(json).map(([name, value]) => [name, withNewerFields(value)]);
  // A map's entries are keys, not fields.
  const isMap = fields.every(([name]) => /^h\d/.test(String(name)));
  return Object.fromEntries(isMap ? fields : [...fields, ["fieldOfALaterVersion", { depth: [1, "two"] }]]);
}

function feedOf(version: string): readonly FeedEvent[] {
  const lines = read(version, "feed.jsonl").trimEnd().split("\n");
  return lines.map((line) => FeedEvent.fromJSON((JSON.parse(line) as { readonly body: unknown }).body));
}

for (const version of VERSIONS) {
  describe(`what ${version} stored`, () => {
    const records = readdirSync(join(FIXTURES, version)).filter((name) => name.startsWith("guest-record-"));

    it("is read as records, and nothing of them is lost when they are written again", () => {
      assert.ok(records.length >= 4);
      for (const name of records) {
        const json: unknown = JSON.parse(read(version, name));
        const record = decodeGuestRecord(bytes(json));
        assert.ok(
          record.migration !== undefined && completeState(record.migration).migration.fence.epoch > 0n,
        );
        assert.deepEqual(parsed(encodeGuestRecord(record)), json, name);
      }
    });

    it("is gone on from where its migrations stood", () => {
      const stateOf = (name: string) => decodeGuestRecord(Buffer.from(read(version, name))).migration;
      const live = stateOf("guest-record-web-0-under-way.json");
      assert.equal(live?.migration?.phase, Phase.TRANSFERRING);
      assert.equal(live.transferActive, true);
      assert.deepEqual(live.source?.done, ["preflight", "armSource"]);
      const postCopy = stateOf("guest-record-web-1-under-way.json");
      assert.equal(postCopy?.migration?.phase, Phase.POST_COPY);
      assert.equal(postCopy.takenOver, true);
      for (const state of [live, postCopy]) assert.deepEqual(outstandingCommands(state), []);
    });

    it("is read as ended migrations", () => {
      for (const guestId of ["web-0", "web-1"]) {
        const json: unknown = JSON.parse(read(version, `ended-migration-${guestId}.json`));
        const state = decodeMigrationState(bytes(json));
        assert.equal(state.migration?.outcome, Outcome.RUNS_ON_DESTINATION);
        assert.equal(state.migration.instants.length, 10);
        assert.deepEqual(parsed(encodeMigrationState(state)), json);
      }
    });

    it("is read as a host", () => {
      const record = HostRecord.fromJSON(JSON.parse(read(version, "host-record.json")));
      assert.match(record.target, /^127\..*:\d+$/);
      assert.ok(record.heartbeatAtUnixUs > 0n);
    });

    it("is read as a feed that is whole, each word of which is known", () => {
      const events = feedOf(version);
      const ids = new Set(events.map(({ migrationId }) => migrationId));
      assert.equal(ids.size, 3);
      for (const migrationId of ids) {
        const about = events.filter((event) => event.migrationId === migrationId);
        if (migrationId !== "") assert.deepEqual(judgeFeed(about, null), []);
      }
      const words = events.flatMap((event) => agentEventOf(event) ?? []);
      assert.ok(words.length > 40);
      assert.ok(events.every(({ event }) => event !== undefined));
    });

    it("is read as journals that say who has the right to run, and are written alike", () => {
      for (const [end, standing] of [
        ["source", "relinquished"],
        ["destination", "resident"],
      ] as const) {
        for (const guestId of ["web-0", "web-1"]) {
          const text = read(version, `journal-${guestId}-${end}.jsonl`);
          const { entries } = decodeJournal(text);
          assert.deepEqual(
            remember(entries).map((memory) => memory.standing.kind),
            [standing],
          );
          assert.equal(entries.map(encodeJournalEntry).join(""), text);
        }
      }
    });
  });
}

describe("what a later version stores", () => {
  const [version = ""] = VERSIONS.slice(-1);
  const record = JSON.parse(read(version, "guest-record-web-1-under-way.json")) as object;
  const renamed = (from: string, to: string): Uint8Array =>
    Buffer.from(JSON.stringify(record).replaceAll(`"${from}"`, `"${to}"`));

  it("is read without the fields that this version does not know", () => {
    assert.deepEqual(decodeGuestRecord(bytes(withNewerFields(record))), decodeGuestRecord(bytes(record)));
    const { migration } = record as { readonly migration: unknown };
    const [newer, known] = [withNewerFields(migration), migration].map((json) =>
      decodeMigrationState(bytes(json)),
    );
    assert.deepEqual(newer, known);
    for (const event of feedOf(version)) {
      const newerEvent = withNewerFields(FeedEvent.toJSON(event));
      assert.deepEqual(readJson(newerEvent, FeedEvent.fromJSON), { value: event, unknownValues: [] });
    }
    const text = read(version, "journal-web-0-source.jsonl");
    const lines = text
      .trimEnd()
      .split("\n")
      .map((line) => `${JSON.stringify(withNewerFields(JSON.parse(line)))}\n`);
    const standings = (journal: string) =>
      remember(decodeJournal(journal).entries).map(({ standing }) => standing);
    assert.deepEqual(standings(lines.join("")), standings(text));
  });

  it("is read with UNSPECIFIED for a value that this version does not know, and says which that is", () => {
    const { unknownValues, value } = readGuestRecord(renamed("PHASE_POST_COPY", "PHASE_OF_A_LATER_VERSION"));
    assert.deepEqual(unknownValues, ["PHASE_OF_A_LATER_VERSION"]);
    assert.equal(value.migration?.migration?.phase, Phase.UNSPECIFIED);
    assert.equal(
      value.migration.migration.migrationId,
      decodeGuestRecord(bytes(record)).migration?.migration?.migrationId,
    );
  });

  it("is not driven by a coordinator that does not know its phase, and stays as it is", async () => {
    const world = new World();
    try {
      const runner = world.startRunner();
      const { unknownValues, value } = readGuestRecord(
        renamed("PHASE_POST_COPY", "PHASE_OF_A_LATER_VERSION"),
      );
      const stored = world.store.put(value);
      const commits = world.store.commits.length;
      runner.take({ ...stored, unknownValues });
      assert.equal(runner.bringUpTo({ ...stored, unknownValues }), null);
      assert.deepEqual(world.hosts.calls, []);
      assert.equal(world.store.commits.length, commits);
      runner.take(stored);
      assert.notEqual(runner.bringUpTo(stored), null);
    } finally {
      world.close();
    }
  });

  it("is no word about the right to run that an agent may pass over", () => {
    const line = JSON.stringify({ atUnixUs: 1, instanceId: "a1", word: { kind: "lentToANeighbour" } });
    assert.throws(() => decodeJournal(`${line}\n`), { reason: "JOURNAL_NEWER" });
  });

  it("is no excuse for what nobody writes", () => {
    assert.throws(() => decodeGuestRecord(Buffer.from("[]x")), { reason: "RECORD_UNREADABLE" });
    assert.throws(() => decodeGuestRecord(Buffer.from('{"epoch":"not a number"}')), {
      reason: "RECORD_UNREADABLE",
    });
  });
});
