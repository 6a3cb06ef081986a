import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { GuestJournal } from "../../agent/journal/guest-journal.ts";
import { newestFenceIn } from "../../agent/journal/journal.ts";
import type { JournalEntry, JournalWord } from "../../agent/journal/journal-entry.ts";
import type { InstanceId } from "../../proto/ids.ts";
import { DESTINATION, FENCE, GUEST, handOff, MIGRATION } from "./guest-gate.ts";

const INSTANCE = "a1" as InstanceId;
const ARMED: JournalWord = {
  kind: "armed",
  fence: FENCE,
  migrationId: MIGRATION,
  destinationHostId: DESTINATION,
  mode: "live",
  pointOfNoReturn: "completed",
  runState: "running",
};
const REPORTED = {
  cpus: "stopped",
  runState: "finish-migrate",
  transferStatus: "active",
  observedAtUnixUs: 1_790_000_000_000_001,
} as const;
const HANDED_OFF: JournalWord = {
  kind: "handedOff",
  handOff: handOff({ fence: { epoch: 9n, revision: 1n } }),
};

function entry(word: JournalWord): JournalEntry {
  return { atUnixUs: 1_795_456_900_058_656, instanceId: INSTANCE, word };
}

describe("a guest's journal", () => {
  let directory = "";
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "switchover-journal-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it("gives back every word after a restart, in order and to the microsecond", () => {
    const words: JournalWord[] = [
      { kind: "nicsPrepared", nics: [], prepared: [] },
      { kind: "adopted", qmpPath: "/run/web/qmp" },
      { kind: "adopted", qmpPath: "", bootId: "boot-1", external: { ...REPORTED, incomingUri: "" } },
      { kind: "vmmReported", ...REPORTED },
      ARMED,
      HANDED_OFF,
      { kind: "released", fence: FENCE },
    ];
    const journal = GuestJournal.open(directory, GUEST);
    for (const word of words) journal.write(entry(word));
    journal.close();
    const reopened = GuestJournal.open(directory, GUEST);
    assert.deepEqual(reopened.entries, words.map(entry));
    reopened.close();
  });

  it("knows the newest fence of all words, the handed-off one included", () => {
    const journal = GuestJournal.open(directory, GUEST);
    journal.write(entry(HANDED_OFF));
    journal.write(entry(ARMED));
    assert.deepEqual(newestFenceIn(journal.entries), { epoch: 9n, revision: 1n });
    journal.close();
  });

  it("has a word on disk for a reader as soon as write returns", () => {
    const journal = GuestJournal.open(directory, GUEST);
    journal.write(entry(HANDED_OFF));
    assert.match(readFileSync(join(directory, `${GUEST}.journal`), "utf8"), /"handedOff".*\n$/);
    journal.close();
  });

  it("drops a last line that was being written when the host died, and appends after it cleanly", () => {
    const journal = GuestJournal.open(directory, GUEST);
    journal.write(entry(ARMED));
    journal.close();
    appendFileSync(join(directory, `${GUEST}.journal`), '{"atUnixUs":17954569000586,"inst');
    const torn = GuestJournal.open(directory, GUEST);
    assert.deepEqual(torn.entries, [entry(ARMED)]);
    torn.write(entry(HANDED_OFF));
    torn.close();
    const reopened = GuestJournal.open(directory, GUEST);
    assert.deepEqual(reopened.entries, [entry(ARMED), entry(HANDED_OFF)]);
    reopened.close();
  });

  it("refuses a journal that is damaged in the middle and names the line", () => {
    writeFileSync(join(directory, `${GUEST}.journal`), '{"broken\n{}\n');
    assert.throws(() => GuestJournal.open(directory, GUEST), {
      reason: "JOURNAL_CORRUPT",
      metadata: { line: "1" },
    });
  });

  it("says which file cannot be written", () => {
    assert.throws(() => GuestJournal.open(join(directory, "absent"), GUEST), {
      code: "UNAVAILABLE",
      reason: "JOURNAL_UNWRITABLE",
    });
  });
});
