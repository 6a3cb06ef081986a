import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { ToldOnce } from "../simulation/model/told-once.ts";

function active(atUnixUs: bigint): FeedEvent {
  return FeedEvent.fromPartial({
    hostId: "ha",
    instanceId: "a1",
    migrationId: "web-1",
    atUnixUs,
    event: { $case: "transferStatusChanged", value: { status: "active", error: "" } },
  });
}

describe("what the simulation takes for told twice", () => {
  it("is a status that one agent says twice in a row", () => {
    const told = new ToldOnce();
    assert.equal(told.repeated(active(10n), 0n, "has all"), null);
    assert.equal(told.repeated(active(20n), 20n, "has all"), null);
    assert.equal(told.repeated(active(30n), 20n, "has all"), null);
    assert.match(told.repeated(active(40n), 20n, "has all") ?? "", /active twice in a row/);
  });

  it("is not what an agent that came back and is dead by now read of its VMM, however late that comes", () => {
    const told = new ToldOnce();
    for (const [atUnixUs, lifeBeganUnixUs] of [
      [10n, 0n],
      [20n, 20n],
      [40n, 40n],
      [60n, 60n],
    ] as const) {
      assert.equal(told.repeated(active(atUnixUs), lifeBeganUnixUs, "has all"), null);
    }
  });
});
