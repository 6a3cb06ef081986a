import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { planAdmission, type WaitingMigration } from "../../coordinator/admission/plan-admission.ts";
import { SlotTable } from "../../coordinator/admission/slot-table.ts";
import type { GuestId } from "../../proto/ids.ts";

const LIMITS = { perSource: 2, perDestination: 2, inAll: 5, queued: 100 };

/** `g1:a>b` waits to go from host a to host b. */
function waiting(...texts: readonly string[]): WaitingMigration[] {
  return texts.map((text, index) => {
    const [guestId = "", route = ""] = text.split(":");
    const [sourceHostId = "", destinationHostId = ""] = route.split(">");
    const migrationId = `${guestId}-000000000000`;
    const requestedAtUnixUs = BigInt(index);
    return {
      guestId: guestId as GuestId,
      migrationId,
      priority: 0,
      requestedAtUnixUs,
      sourceHostId,
      destinationHostId,
    };
  });
}

function plan(underWay: readonly string[], line: readonly string[]) {
  const table = new SlotTable();
  waiting(...underWay).forEach((migration, index) => {
    const slot = { ...migration, epoch: 1n, takenAtUnixUs: 0n, released: false };
    table.hear({ slot, revision: index + 1 });
  });
  const { admitted, waiting: left } = planAdmission(
    waiting(...line),
    (route) => table.occupancyOf(route),
    LIMITS,
  );
  const standings = [...left].map(
    ([guestId, { waitsFor, position }]) => `${guestId} ${waitsFor} ${position}`,
  );
  return { admitted: admitted.map(({ guestId }) => guestId), standings };
}

describe("the plan of admissions", () => {
  it("admits in order as many as each host has room for, and tells the others what they wait for", () => {
    const { admitted, standings } = plan(["u1:a>x"], ["g1:a>b", "g2:a>c", "g3:d>b", "g4:a>e"]);
    assert.deepEqual(admitted, ["g1", "g3"]);
    assert.deepEqual(standings, ["g2 turn 1", "g4 turn 2"]);
  });

  it("counts positions among those that wait for the same", () => {
    const full = ["u1:a>x", "u2:a>y", "u3:s>b", "u4:t>b"];
    const { standings } = plan(full, ["g1:a>c", "g2:d>b", "g3:a>e", "g4:f>b"]);
    assert.deepEqual(standings, ["g1 source 1", "g2 destination 1", "g3 source 2", "g4 destination 2"]);
  });

  it("lets those pass that need other hosts than the one that is waited for", () => {
    const { admitted } = plan(["u1:a>x", "u2:a>y"], ["g1:a>b", "g2:c>d"]);
    assert.deepEqual(admitted, ["g2"]);
  });

  it("keeps a place at its other end for the first that waits for a full host, and only for that", () => {
    const line = ["g1:a>b", "g2:a>b", "g3:c>b", "g4:d>b"];
    const { admitted, standings } = plan(["u1:a>x", "u2:a>y"], line);
    assert.deepEqual(admitted, ["g3"]);
    assert.deepEqual(standings, ["g1 source 1", "g2 source 2", "g4 turn 1"]);
  });

  it("admits no more than the limit in all", () => {
    const under = ["u1:a>b", "u2:c>d", "u3:e>f", "u4:g>h"];
    const { admitted, standings } = plan(under, ["g1:i>j", "g2:k>l"]);
    assert.deepEqual(admitted, ["g1"]);
    assert.deepEqual(standings, ["g2 turn 1"]);
  });
});
