import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { MigrationMode } from "../lab/bare-migration.ts";
import { BareGuest } from "../lab/bare-ping-pong.ts";
import type { ManagedCrossing, ManagedGuest } from "../lab/managed/managed-guest.ts";
import { BARE_ADDRESS, BARE_MAC, type ManagedLab, openManagedLab } from "../lab/managed/managed-lab.ts";
import { type MigrationReport, reportOf } from "../lab/managed/migration-report.ts";
import { Prober } from "../lab/probe.ts";
import { judgeAgainstFloor } from "../lab/probe-floor.ts";
import { skipWithout } from "../resource.ts";

/** Enough to see a race that strikes one migration in three, both ways and in both modes; the lab's command runs more. */
const MANAGED_CROSSINGS = 6;
const BARE_CROSSINGS = 4;
const WATCH_AFTER_MS = 500;
const PHASES: Record<MigrationMode, readonly string[]> = {
  live: ["PENDING", "PREPARING", "TRANSFERRING", "SWITCHING_OVER", "COMPLETING", "COMPLETED"],
  "post-copy": [
    "PENDING",
    "PREPARING",
    "TRANSFERRING",
    "SWITCHING_OVER",
    "POST_COPY",
    "COMPLETING",
    "COMPLETED",
  ],
};

/** Two guests on the same two hosts take turns: one with Switchover, one that QEMU migrates alone, as the floor. */
describe("a guest that is migrated to and fro", { skip: skipWithout("root", "qemu", "natsServer") }, () => {
  let managed: ManagedLab;
  let guest: ManagedGuest;
  let bare: BareGuest;
  let probers: readonly Prober[];
  let bareProbers: readonly Prober[];

  before(
    async () => {
      managed = await openManagedLab();
      const { image, lab } = managed;
      guest = await managed.bootGuest("ha");
      bare = await BareGuest.boot({ lab, image, mac: BARE_MAC, address: `${BARE_ADDRESS}/24` }, "ha");
      probers = await managed.startProbers();
      bareProbers = await Promise.all(
        lab.topology.peers.map((peer) => Prober.start({ peer, target: BARE_ADDRESS, targetMac: BARE_MAC })),
      );
    },
    { timeout: 120_000 },
  );
  after(() => managed?.close());

  for (const mode of ["live", "post-copy"] as const) {
    describe(`in ${mode} mode`, () => {
      const crossings: { readonly report: MigrationReport; readonly crossing: ManagedCrossing }[] = [];
      const lostBare: number[] = [];

      before(
        async () => {
          for (let index = 0; index < MANAGED_CROSSINGS; index++) {
            const from = guest.current.host;
            const to = from === "ha" ? "hb" : "ha";
            const crossing = await guest.cross({ to, mode, probers, watchAfterMs: WATCH_AFTER_MS });
            crossings.push({ report: reportOf(mode, from, to, crossing), crossing });
            if (index >= BARE_CROSSINGS) continue;
            const bareTo = bare.current.host === "ha" ? "hb" : "ha";
            const floor = await bare.cross({
              to: bareTo,
              mode,
              probers: bareProbers,
              watchAfterMs: WATCH_AFTER_MS,
            });
            lostBare.push(...floor.probes.map(({ lost }) => lost));
          }
        },
        { timeout: 180_000 },
      );

      it("completes every time, with the guest alive", () => {
        assert.deepEqual(
          crossings.map(({ report }) => `${report.phase} ${report.guest_alive}`),
          crossings.map(() => "COMPLETED true"),
        );
      });

      it("never has its MAC on both hosts, nor early on one, and always before its CPUs run", () => {
        for (const { report } of crossings) {
          assert.equal(report.duplicate_us, 0);
          assert.equal(report.early_us, 0);
          assert.equal(report.registered_before_resume, true);
        }
      });

      it("keeps invariants I1 to I5 by the witness of kernel, QEMU and disk", () => {
        assert.deepEqual(
          crossings.flatMap(({ report }) => report.violations),
          [],
        );
      });

      it("loses no more probes than bare QEMU does, within two at worst and one at the median", () => {
        const lost = crossings.flatMap(({ report }) => report.probes.map((probe) => probe.lost));
        assert.deepEqual(
          judgeAgainstFloor(lost, lostBare),
          [],
          `managed ${lost.join(" ")}; bare ${lostBare.join(" ")}`,
        );
      });

      it("tells an observer on NATS every phase, in order, once", () => {
        for (const { crossing } of crossings) {
          const seen = managed.observer.phases(crossing.migration.migrationId);
          assert.deepEqual(
            seen.map(({ phase }) => phase),
            PHASES[mode],
          );
          assert.deepEqual(
            seen.map(({ sequence }) => sequence),
            PHASES[mode].map((_, index) => BigInt(index + 1)),
          );
        }
      });
    });
  }
});
