import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { MigrationMode } from "../lab/bare-migration.ts";
import type { ManagedCrossing, ManagedGuest } from "../lab/managed/managed-guest.ts";
import { type ManagedLab, openManagedLab } from "../lab/managed/managed-lab.ts";
import { type MigrationReport, reportOf } from "../lab/managed/migration-report.ts";
import type { Prober } from "../lab/probe.ts";
import { UNTIMED_BOUNDS } from "../lab/witness/invariants.ts";
import { skipWithout } from "../resource.ts";

/** Both ways, in both modes; the lab's command runs more, and compares lost probes with what bare QEMU costs. */
const CROSSINGS = 10;
const WATCH_AFTER_MS = 500;
/** Around STOP and RESUME probes may be lost, and with them a few that were on their way or came with the flood. */
const BEFORE_STOP_US = 50_000;
const AFTER_RESUME_US = 250_000;
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

describe("a guest that is migrated to and fro", { skip: skipWithout("root", "qemu", "natsServer") }, () => {
  let managed: ManagedLab;
  let guest: ManagedGuest;
  let probers: readonly Prober[];

  before(
    async () => {
      managed = await openManagedLab();
      guest = await managed.bootGuest("ha");
      probers = await managed.startProbers();
    },
    { timeout: 120_000 },
  );
  after(() => managed?.close());

  for (const mode of ["live", "post-copy"] as const) {
    describe(`in ${mode} mode`, () => {
      const crossings: { readonly report: MigrationReport; readonly crossing: ManagedCrossing }[] = [];

      before(
        async () => {
          for (let index = 0; index < CROSSINGS; index++) {
            const from = guest.current.host;
            const to = from === "ha" ? "hb" : "ha";
            const crossing = await guest.cross({
              to,
              mode,
              probers,
              watchAfterMs: WATCH_AFTER_MS,
              bounds: UNTIMED_BOUNDS,
            });
            crossings.push({ report: reportOf(mode, from, to, crossing), crossing });
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

      it("answers both peers at all times but around the switch", () => {
        for (const { crossing } of crossings) {
          const { stopAtUnixUs, resumeAtUnixUs } = crossing.figures;
          assert.ok(stopAtUnixUs !== undefined && resumeAtUnixUs !== undefined);
          const lost = crossing.probes.flatMap(({ peer, probes }) =>
            probes
              .filter(({ repliedAtUnixUs }) => repliedAtUnixUs === undefined)
              .map(({ sentAtUnixUs }) => ({
                peer,
                afterStopMs: (sentAtUnixUs - stopAtUnixUs) / 1000,
                sentAtUnixUs,
              })),
          );
          const elsewhere = lost.filter(
            ({ sentAtUnixUs: at }) =>
              at < stopAtUnixUs - BEFORE_STOP_US || at > resumeAtUnixUs + AFTER_RESUME_US,
          );
          assert.deepEqual(elsewhere, []);
        }
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
