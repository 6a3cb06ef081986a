import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { openJournalDirectory } from "../../agent/journal/guest-journal.ts";
import type { JournalEntry } from "../../agent/journal/journal-entry.ts";
import { parseGuestId, parseInstanceId } from "../../proto/ids.ts";
import { skipWithout } from "../resource.ts";

const PAGES = 4;
const PAGE_BYTES = 4096;
const GUEST = parseGuestId("web", "guest_id");

describe("a journal on a full disk", { skip: skipWithout("root") }, () => {
  const directory = mkdtempSync(join(tmpdir(), "switchover-full-disk-"));

  before(() => {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${PAGES * PAGE_BYTES}`, "switchover-test", directory]);
  });
  after(() => {
    execFileSync("umount", ["-l", directory]);
    rmSync(directory, { recursive: true });
  });

  it("keeps nothing of a word that was torn, and takes the next when there is room again", () => {
    const journal = openJournalDirectory(directory).open(GUEST);
    const filler = join(directory, "filler");
    writeFileSync(filler, Buffer.alloc((PAGES - 1) * PAGE_BYTES));
    let written = 0;
    assert.throws(
      () => {
        for (; written < 1_000; written++) journal.write(entry(written));
      },
      { reason: "JOURNAL_UNWRITABLE", message: /only \d+ of \d+ bytes/ },
    );
    assert.ok(written > 1, "the journal's first page took some words");
    assert.throws(() => journal.write(entry(written)), { reason: "JOURNAL_UNWRITABLE" });
    rmSync(filler);
    journal.write(entry(written));
    journal.close();
    const reread = openJournalDirectory(directory).open(GUEST);
    assert.deepEqual(
      reread.entries,
      Array.from({ length: written + 1 }, (_, index) => entry(index)),
    );
    reread.close();
  });
});

function entry(atUnixUs: number): JournalEntry {
  return {
    atUnixUs,
    instanceId: parseInstanceId("web-1", "instance_id"),
    word: { kind: "adopted", qmpPath: "/run/web-1/qmp" },
  };
}
