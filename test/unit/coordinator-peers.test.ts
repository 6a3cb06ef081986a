import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PeerTable } from "../../coordinator/runner/peer-table.ts";
import type { GuestId } from "../../proto/ids.ts";

const SILENT_AFTER_MS = 800;

/** Everybody is heard at 0. */
function tableOf(ownId: string, ...peerIds: readonly string[]): PeerTable {
  const table = new PeerTable(ownId, SILENT_AFTER_MS);
  for (const id of [ownId, ...peerIds]) table.hear(id, 0);
  return table;
}

const GUESTS = Array.from({ length: 100 }, (_, index) => `web-${index}` as GuestId);

describe("coordinators that hear each other", () => {
  it("notice one that falls silent, once", () => {
    const table = tableOf("c1", "c2", "c3");
    for (const atMs of [400, 800, 1_000]) {
      table.hear("c1", atMs);
      table.hear("c2", atMs);
    }
    assert.deepEqual(table.takeSilent(1_000), ["c3"]);
    assert.deepEqual(table.takeSilent(1_000), []);
  });

  it("hold nobody silent while they do not hear themselves, nor for that time after", () => {
    const table = tableOf("c1", "c2");
    assert.deepEqual(table.takeSilent(5_000), []);
    table.hear("c1", 5_000);
    assert.deepEqual(table.takeSilent(5_100), []);
    table.hear("c1", 5_400);
    table.hear("c1", 5_790);
    assert.deepEqual(table.takeSilent(5_801), ["c2"]);
  });

  it("let one go that says that it leaves, and never themselves", () => {
    const table = tableOf("c1", "c2");
    assert.equal(table.leave("c1"), false);
    assert.equal(table.leave("c2"), true);
    assert.equal(table.leave("c2"), false);
    table.hear("c1", 2_000);
    assert.deepEqual(table.takeSilent(2_000), []);
  });

  it("agree on who goes on with a guest, and share the guests among them", () => {
    const ids = ["c1", "c2", "c3"];
    const tables = ids.map((ownId) => tableOf(ownId, ...ids.filter((id) => id !== ownId)));
    const shares = tables.map((table) => GUESTS.filter((guestId) => table.isFirstFor(guestId)));
    assert.deepEqual(shares.flat().sort(), [...GUESTS].sort());
    for (const share of shares) assert.ok(share.length > 15, `${share.length} of ${GUESTS.length}`);
  });

  it("leave a guest to who drove it while that is heard, and then to one of those that are left", () => {
    const [c1, c2] = [tableOf("c1", "c2", "c3"), tableOf("c2", "c1", "c3")];
    const others = (table: PeerTable, committedBy: string) =>
      GUESTS.filter((guestId) => table.isAnothers(guestId, committedBy));
    assert.equal(others(c1, "c1").length, 0);
    assert.equal(others(c1, "c3").length, GUESTS.length);
    for (const table of [c1, c2]) table.leave("c3");
    assert.deepEqual([...others(c1, "c3"), ...others(c2, "c3")].sort(), [...GUESTS].sort());
  });

  it("leave it to the one that is left", () => {
    const table = tableOf("c1", "c2");
    table.leave("c2");
    assert.ok(GUESTS.every((guestId) => table.isFirstFor(guestId)));
  });
});
