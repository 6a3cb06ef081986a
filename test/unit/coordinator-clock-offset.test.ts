import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { type ClockRoundTrip, closestReading, errorUsAt, offsetOf } from "../../coordinator/clock-offset.ts";
import { compareClocks } from "../../coordinator/runner/compare-clocks.ts";
import type { HostId } from "../../proto/ids.ts";

const NOW = 1_795_456_900_000_000;

/** A round trip at `atUnixUs` to a clock that is so far ahead; how long each way took, and the host in between. */
function trip(
  aheadUs: number,
  thereUs: number,
  heldUs: number,
  backUs: number,
  atUnixUs = NOW,
): ClockRoundTrip {
  const receivedAtUnixUs = atUnixUs + thereUs + aheadUs;
  return {
    askedAtUnixUs: atUnixUs,
    receivedAtUnixUs,
    answeredAtUnixUs: receivedAtUnixUs + heldUs,
    heardAtUnixUs: atUnixUs + thereUs + heldUs + backUs,
  };
}

const ways = fc.record({ there: fc.nat(50_000), held: fc.nat(50_000), back: fc.nat(50_000) });
const aheads = fc.integer({ min: -10_000_000, max: 10_000_000 });
const severalWays = fc.array(ways, { minLength: 1, maxLength: 8 });

describe("how two hosts' clocks compare", () => {
  it("is known within its error, however unlike the ways were and however long a host took", () => {
    fc.assert(
      fc.property(aheads, aheads, severalWays, severalWays, (sourceAhead, destinationAhead, one, other) => {
        const tripsOf = (aheadUs: number, of: typeof one) => {
          const trips = of.map(({ there, held, back }) => trip(aheadUs, there, held, back));
          return closestReading(trips as [ClockRoundTrip, ...ClockRoundTrip[]]);
        };
        const measured = { atUnixUs: NOW, roundTrips: one.length };
        const offset = offsetOf(tripsOf(sourceAhead, one), tripsOf(destinationAhead, other), measured);
        const wrongBy = Number(offset.destinationAheadUs) - (destinationAhead - sourceAhead);
        assert.ok(Math.abs(wrongBy) <= Number(offset.errorUs), `${wrongBy} beyond ${offset.errorUs}`);
      }),
    );
  });

  it("is as good as the shortest round trip, wherever that stands among the others", () => {
    const [slow, fast] = [trip(700, 9_000, 5, 100), trip(700, 100, 20_000, 100)];
    for (const trips of [
      [slow, fast, slow],
      [fast, slow, slow],
      [slow, slow, fast],
    ] as const) {
      assert.deepEqual(closestReading([...trips]), { aheadUs: 700, errorUs: 101 });
    }
  });

  it("is less certain the further from when it was measured, in both directions", () => {
    const offset = { destinationAheadUs: 0n, errorUs: 100n, measuredAtUnixUs: BigInt(NOW), roundTrips: 4 };
    assert.equal(errorUsAt(offset, BigInt(NOW)), 100n);
    assert.equal(errorUsAt(offset, BigInt(NOW) + 60_000_000n), 1_000n);
    assert.equal(errorUsAt(offset, BigInt(NOW) - 60_000_000n), 1_000n);
  });

  it("is asked of both hosts in turn, and is that of the shortest of each one's round trips", async () => {
    let nowUnixUs = NOW;
    const asked: string[] = [];
    const waysUs = [5_000, 400, 900, 300, 250, 4_000, 600, 700];
    const clock = { unixUs: () => nowUnixUs, after: () => () => {} };
    const agents = {
      readClock: async (hostId: HostId) => {
        const wayUs = waysUs[asked.length] ?? 0;
        asked.push(hostId);
        nowUnixUs += wayUs;
        const at = BigInt(nowUnixUs + (hostId === "ha" ? 0 : -2_500));
        nowUnixUs += wayUs;
        return { receivedAtUnixUs: at, answeredAtUnixUs: at };
      },
    } as unknown as Parameters<typeof compareClocks>[0]["agents"];
    const call = { deadlineMs: 1_000, signal: new AbortController().signal };
    const offset = await compareClocks({ agents, clock }, "ha" as HostId, "hb" as HostId, call);
    assert.deepEqual(asked, ["ha", "hb", "ha", "hb", "ha", "hb", "ha", "hb"]);
    assert.deepEqual(offset, {
      destinationAheadUs: -2_500n,
      errorUs: 251n + 301n,
      measuredAtUnixUs: BigInt(nowUnixUs),
      roundTrips: 4,
    });
  });
});
