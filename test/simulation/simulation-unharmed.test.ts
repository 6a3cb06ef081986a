import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { runSchedule } from "./world/run.ts";
import { NIC_KINDS, type NicKind, type PlannedMigration, type Schedule } from "./world/schedule.ts";

const SEEDS = 10;

function schedulesOf(migration: Omit<PlannedMigration, "to">): Schedule[] {
  const migrations = [0, 0, 1].map((to): PlannedMigration => ({ ...migration, to: to === 0 ? 0 : 1 }));
  return (["7.2", "10.2"] as const).flatMap((qemu) =>
    Array.from({ length: SEEDS }, (_, index) => ({
      seed: index + 1,
      coordinators: index % 2 === 0 ? 1 : 2,
      nics: index % 2 === 0 ? 2 : 1,
      feed: index % 3 === 0 ? "heard" : "away",
      qemu,
      copyUs: 20_000,
      pagesUs: 30_000,
      migrations,
      faults: [],
    })),
  );
}

describe("a simulated guest that nothing harms", () => {
  for (const mode of ["live", "postCopy"] as const) {
    for (const guest of ["running", "stopped"] as const) {
      it(`completes migrations there, back and on, ${mode}, ${guest}`, async () => {
        for (const schedule of schedulesOf({ mode, guest, postCopyAfterMs: 5 })) {
          const { violation, endings } = await runSchedule(schedule);
          assert.equal(violation, null, `seed ${schedule.seed}, QEMU ${schedule.qemu}`);
          assert.deepEqual(
            endings.map((ending) => (ending === "refused" ? ending : ending.phase)),
            [Phase.COMPLETED, Phase.COMPLETED, Phase.COMPLETED],
          );
        }
      });
    }
  }

  const mixed: readonly NicKind[] = [
    "tap",
    "overlayTap",
    "overlayTap",
    "macvtap",
    "passthrough",
    "routedTap",
    "routedTap",
    "unmanaged",
  ];
  for (const wiring of [...NIC_KINDS.map((kind) => [kind]), mixed]) {
    it(`completes migrations there, back and on with NICs of kind ${wiring.join(", ")}`, async () => {
      for (const mode of ["live", "postCopy"] as const) {
        for (const schedule of schedulesOf({ mode, guest: "running", postCopyAfterMs: 5 }).slice(0, 3)) {
          const { violation, endings } = await runSchedule({ ...schedule, wiring });
          assert.equal(violation, null, `seed ${schedule.seed}, ${mode}`);
          assert.equal(endings.length, 3);
        }
      }
    });
  }

  for (const plugs of [
    "out",
    "tap",
    "kernelTap",
    "overlayTap",
    "macvtap",
    "routedTap",
    "unmanaged",
  ] as const) {
    it(`completes migrations before each of which its owner plugs ${plugs === "out" ? "a NIC out" : `a ${plugs} in`}`, async () => {
      for (const schedule of schedulesOf({ mode: "live", guest: "running", postCopyAfterMs: 0, plugs }).slice(
        0,
        3,
      )) {
        const { violation, endings } = await runSchedule({ ...schedule, wiring: ["tap", "tap", "macvtap"] });
        assert.equal(violation, null, `seed ${schedule.seed}`);
        assert.equal(endings.length, 3);
      }
    });
  }

  it("plays a schedule in the same way every time", async () => {
    const [schedule] = schedulesOf({ mode: "postCopy", guest: "running", postCopyAfterMs: 0 });
    assert.ok(schedule !== undefined);
    const traces = [[], []] as string[][];
    for (const trace of traces) await runSchedule(schedule, undefined, (line) => trace.push(line));
    assert.ok((traces[0]?.length ?? 0) > 100);
    assert.deepEqual(traces[0], traces[1]);
  });
});
