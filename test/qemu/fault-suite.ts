import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { after, before, describe, it } from "node:test";
import { type FaultCell, faultText } from "../lab/faults/fault-cell.ts";
import { FAULT_CELLS } from "../lab/faults/fault-cells.ts";
import type { Attempt } from "../lab/faults/fault-runner.ts";
import { runSideBySide } from "../lab/faults/side-by-side.ts";
import { skipWithout } from "../resource.ts";

const CELL_TIMEOUT_MS = 120_000;
/** A cell waits more than it works: for a fault to pass, for bounds to run out, for a guest to boot. */
const LABS = 3;

/** One quick run of each cell that is wanted; `npm run -s faults` runs any of them, any number of times. */
export function describeFaults(name: string, isWanted: (cell: FaultCell) => boolean): void {
  describe(name, { skip: skipWithout("root", "qemu", "natsServer") }, () => {
    const cells = FAULT_CELLS.filter(isWanted);
    const attempts = new Map<string, Attempt>();
    const told = new EventEmitter();
    let running: Promise<void> = Promise.resolve();
    before(() => {
      running = runSideBySide(cells, LABS, undefined, (attempt) => {
        attempts.set(attempt.cell, attempt);
        told.emit(attempt.cell);
      });
      // Each test tells of a lab's program that died, which ends all.
      running.catch(() => {});
    });
    after(() => running);
    for (const cell of cells) {
      const at = `${cell.hold.side} agent at "${cell.hold.line}"`;
      it(`${cell.name}: ${faultText(cell.fault)}, ${at}`, { timeout: CELL_TIMEOUT_MS }, async () => {
        if (!attempts.has(cell.name)) await Promise.race([once(told, cell.name), running]);
        const attempt = attempts.get(cell.name);
        if (attempt?.kind !== "judged") assert.fail(attempt?.sentence);
        assert.deepEqual(attempt.run.faults, []);
        assert.notEqual(attempt.run.guest, "died", "three guests in a row died of the emulator");
      });
    }
  });
}
