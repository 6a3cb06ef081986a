import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { ManagedCrossing, ManagedGuest } from "../lab/managed/managed-guest.ts";
import {
  GUEST_ADDRESS,
  GUEST_MAC,
  GUEST_TAP,
  NEIGHBOUR_ADDRESS,
  NEIGHBOUR_MAC,
} from "../lab/managed/managed-lab.ts";
import { wiringOf } from "../lab/managed/wiring.ts";
import { withProbers } from "../lab/probe.ts";
import { unixMicros } from "../lab/realtime-clock.ts";
import { UNTIMED_BOUNDS } from "../lab/witness/invariants.ts";
import { skipWithout } from "../resource.ts";
import { SparedGuests } from "./spared-guests.ts";

const OTHER_TAP = "web9";
const REACHABLE_TIMEOUT_MS = 20_000;
const GUEST = { target: GUEST_ADDRESS, targetMac: GUEST_MAC, intervalMs: 10 };
const NEIGHBOUR = { target: NEIGHBOUR_ADDRESS, targetMac: NEIGHBOUR_MAC, intervalMs: 10 };
const UNTIMED = { bounds: UNTIMED_BOUNDS, watchAfterMs: 200 };
const options = { skip: skipWithout("root", "qemu", "natsServer"), timeout: 400_000 };

describe("a guest that is migrated within one host", options, () => {
  let spared: SparedGuests;
  before(async () => {
    spared = await SparedGuests.boot(["ha"]);
  });
  after(() => spared?.close());

  for (const mode of ["live", "post-copy"] as const) {
    it(`has its entry move from tap to tap of one bridge at the switch, ${mode}`, async (context) => {
      const { crossing, from, to } = await spared.step(context, ({ guests: [guest], managed }) => {
        assert.ok(guest);
        const [from, to] = tapsOf(guest);
        return withProbers(managed.lab.topology.peers, GUEST, async (probers) => {
          const wiring = wiringOf("tap", GUEST_MAC, to);
          const crossing = await guest.cross({ to: "ha", mode, wiring, probers, ...UNTIMED });
          const ended = unixMicros();
          await Promise.all(probers.map((prober) => prober.waitForReply(ended, REACHABLE_TIMEOUT_MS)));
          return { crossing, from, to };
        });
      });
      assertGood(crossing);
      assert.deepEqual(registrationsIn(crossing), [
        `present ${from} on ha`,
        `deleted ${from} on ha`,
        `set ${to} on ha`,
      ]);
    });
  }
});

describe("two guests of one bridge, migrated at the same time in opposite directions", options, () => {
  let spared: SparedGuests;
  before(async () => {
    spared = await SparedGuests.boot(["ha", "hb"]);
  });
  after(() => spared?.close());

  it("both arrive and answer, and neither touches an entry of the other's", async (context) => {
    const crossings = await spared.step(context, ({ guests: [guest, neighbour], managed }) => {
      assert.ok(guest && neighbour);
      const { peers } = managed.lab.topology;
      return withProbers(peers, GUEST, (probers) =>
        withProbers(peers, NEIGHBOUR, async (neighbourProbers) => {
          const both = await Promise.all([
            guest.cross({ to: "hb", mode: "live", probers, ...UNTIMED }),
            neighbour.cross({ to: "ha", mode: "live", probers: neighbourProbers, ...UNTIMED }),
          ]);
          const ended = unixMicros();
          await Promise.all(
            [...probers, ...neighbourProbers].map((prober) =>
              prober.waitForReply(ended, REACHABLE_TIMEOUT_MS),
            ),
          );
          return both;
        }),
      );
    });
    for (const crossing of crossings) assertGood(crossing);
    assert.deepEqual(crossings.map(registrationsIn), [
      ["present web0 on ha", "deleted web0 on ha", "set web0 on hb"],
      ["present db0 on hb", "deleted db0 on hb", "set db0 on ha"],
    ]);
  });
});

/** Where the guest's first NIC is, and where it is to go. */
function tapsOf({ current }: ManagedGuest): readonly [string, string] {
  const from = current.nics[0]?.tap ?? GUEST_TAP;
  return [from, from === GUEST_TAP ? OTHER_TAP : GUEST_TAP];
}

function assertGood({ feedFaults, figures, guest, migration, verdicts }: ManagedCrossing): void {
  const { duplicateUs, earlyUs, registeredBeforeResume } = figures;
  assert.deepEqual(
    { guest, phase: migration.phase, duplicateUs, earlyUs, registeredBeforeResume },
    { guest: "alive", phase: Phase.COMPLETED, duplicateUs: 0, earlyUs: 0, registeredBeforeResume: "yes" },
  );
  assert.deepEqual([...verdicts.flatMap(({ violations }) => violations), ...feedFaults], []);
}

/** What became of the guest's registrations, in the kernel's order on each host, and of both by time. */
function registrationsIn({ record }: ManagedCrossing): readonly string[] {
  return record.fdb
    .filter(({ state }) => state === "static")
    .toSorted((a, b) => a.atUnixUs - b.atUnixUs)
    .map(({ change, dev, host }) => `${change} ${dev} on ${host}`);
}
