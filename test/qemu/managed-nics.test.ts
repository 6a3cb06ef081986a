import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { MigrationMode } from "../lab/bare-migration.ts";
import type { ManagedCrossing, ManagedGuest } from "../lab/managed/managed-guest.ts";
import { GUEST_MAC, GUEST_TAP } from "../lab/managed/managed-lab.ts";
import { type MigrationReport, reportOf } from "../lab/managed/migration-report.ts";
import { type LabWiring, wiringOf } from "../lab/managed/wiring.ts";
import { UNTIMED_BOUNDS } from "../lab/witness/invariants.ts";
import { skipWithout } from "../resource.ts";
import { SparedGuests } from "./spared-guests.ts";

/** There and back; `npm run -s lab -- --nics KIND --count N` runs more, and counts lost probes. */
const CROSSINGS = 2;
const WATCH_AFTER_MS = 200;

interface Crossed {
  readonly report: MigrationReport;
  readonly crossing: ManagedCrossing;
}

describe("a guest's NICs", { skip: skipWithout("root", "qemu", "natsServer"), timeout: 800_000 }, () => {
  for (const name of ["macvtap-bridge", "macvtap-passthrough", "mixed"] as const) {
    const wiring = wiringOf(name, GUEST_MAC, GUEST_TAP);
    describe(`wired as ${name}`, () => {
      let spared: SparedGuests;
      before(async () => {
        spared = await SparedGuests.boot(["ha"], { wiring: name });
      });
      after(() => spared?.close());

      for (const mode of ["live", "post-copy"] as const) {
        it(`are registered on one host at a time, and before the CPUs run, there and back in ${mode} mode`, async (context) => {
          for (let index = 0; index < CROSSINGS; index++) {
            const { report, crossing } = await spared.step(context, ({ guests: [guest] }) => {
              assert.ok(guest);
              return cross(guest, mode);
            });
            assert.deepEqual(judged(report), {
              ...{ phase: "COMPLETED", guest_alive: true, duplicate_us: 0, early_us: 0 },
              ...{ registered_before_resume: true, violations: [] },
            });
            assertWitnessed(wiring, report, crossing);
          }
        });
      }
    });
  }
});

async function cross(guest: ManagedGuest, mode: MigrationMode): Promise<Crossed> {
  const from = guest.current.host;
  const to = from === "ha" ? "hb" : "ha";
  const bounds = UNTIMED_BOUNDS;
  const crossing = await guest.cross({ to, mode, bounds, watchAfterMs: WATCH_AFTER_MS });
  return { report: reportOf(mode, from, to, crossing), crossing };
}

function judged(report: MigrationReport) {
  const { phase, guest_alive, duplicate_us, early_us, registered_before_resume, violations } = report;
  return { phase, guest_alive, duplicate_us, early_us, registered_before_resume, violations };
}

/** Each device that a host serves a NIC by was seen to go at the source and to come at the destination. */
function assertWitnessed(
  wiring: LabWiring,
  { from, to }: MigrationReport,
  { record }: ManagedCrossing,
): void {
  const registrations = new Set(
    record.fdb
      .filter(({ state }) => state === "static")
      .map(({ host, change, dev, mac }) => `${change} ${mac} ${dev} on ${host}`),
  );
  for (const { device, mac } of wiring.nics.filter(({ backend }) => backend !== "user")) {
    for (const expected of [`deleted ${mac} ${device} on ${from}`, `set ${mac} ${device} on ${to}`]) {
      assert.ok(registrations.has(expected), expected);
    }
  }
}
