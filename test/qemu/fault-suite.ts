import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { type FaultCell, faultText } from "../lab/faults/fault-cell.ts";
import { FAULT_CELLS } from "../lab/faults/fault-cells.ts";
import { FaultRunner } from "../lab/faults/fault-runner.ts";
import { skipWithout } from "../resource.ts";

const CELL_TIMEOUT_MS = 120_000;

/** One quick run of each cell that is wanted; `npm run -s faults` runs any of them, any number of times. */
export function describeFaults(name: string, isWanted: (cell: FaultCell) => boolean): void {
  describe(name, { skip: skipWithout("root", "qemu", "natsServer") }, () => {
    const runner = new FaultRunner();
    after(() => runner.close());
    for (const cell of FAULT_CELLS.filter(isWanted)) {
      const at = `${cell.hold.side} agent at "${cell.hold.line}"`;
      it(`${cell.name}: ${faultText(cell.fault)}, ${at}`, { timeout: CELL_TIMEOUT_MS }, async () => {
        const attempt = await runner.run(cell);
        if (attempt.kind === "broken") assert.fail(attempt.sentence);
        assert.deepEqual(attempt.run.faults, []);
        assert.notEqual(attempt.run.guest, "died", "three guests in a row died of the emulator");
      });
    }
  });
}
