import { SwitchoverError } from "../../../proto/error.ts";
import type { CellRun } from "./cell-judgement.ts";
import { runCell } from "./cell-run.ts";
import type { FaultCell } from "./fault-cell.ts";
import { type FaultLab, openFaultLab } from "./fault-lab.ts";
import { LabLogs } from "./lab-logs.ts";

/** One run of a cell: what came of it, or why it could not be brought to its end. */
export type Attempt = {
  readonly cell: string;
  /** Runs before this one that were begun again because the emulator had killed the guest. */
  readonly guestsDied: number;
} & (
  | { readonly kind: "judged"; readonly run: CellRun }
  | { readonly kind: "broken"; readonly sentence: string }
);

/** Whether all was as it must be. */
export function isRight(attempt: Attempt): boolean {
  return attempt.kind === "judged" && attempt.run.guest !== "died" && attempt.run.faults.length === 0;
}

/** About one guest in a hundred dies; three in a row are somebody else's fault. */
const GUESTS_AT_MOST = 3;

export interface FaultRunnerOptions {
  /** Where the logs and journals of cells that went wrong are kept; default: nowhere. */
  readonly logsTo?: string;
}

/**
 * Runs cells one after another in one lab, which is built for the first and built anew after a run that left it in
 * disorder.
 */
export class FaultRunner {
  readonly #options: FaultRunnerOptions;
  #lab: FaultLab | undefined;

  constructor(options: FaultRunnerOptions = {}) {
    this.#options = options;
  }

  /** Never throws for what a fault has done. */
  async run(cell: FaultCell): Promise<Attempt> {
    for (let guestsDied = 0; ; guestsDied++) {
      const attempt = { ...(await this.#runOnce(cell)), cell: cell.name, guestsDied };
      if (attempt.kind === "broken" || attempt.run.guest !== "died" || attempt.run.faults.length > 0)
        return attempt;
      if (guestsDied + 1 >= GUESTS_AT_MOST) return attempt;
    }
  }

  async #runOnce(
    cell: FaultCell,
  ): Promise<
    | { readonly kind: "judged"; readonly run: CellRun }
    | { readonly kind: "broken"; readonly sentence: string }
  > {
    const lab = await this.#openLab();
    if (lab instanceof SwitchoverError)
      return { kind: "broken", sentence: `There is no lab: ${lab.message}` };
    const logs = await LabLogs.from(lab);
    try {
      const run = await runCell(lab, cell);
      if (run.faults.length > 0 || run.guest === "died") {
        await this.#keep(logs, cell, [`The guest: ${run.guest}.`, ...run.faults].join("\n"));
      }
      // What one run has left behind must not be blamed on the next.
      if (run.faults.length > 0) await this.close();
      return { kind: "judged", run };
    } catch (thrown) {
      const { message } = SwitchoverError.from(thrown);
      await this.#keep(logs, cell, thrown instanceof Error ? (thrown.stack ?? message) : message);
      await this.close();
      return { kind: "broken", sentence: message };
    }
  }

  /** The one that stands, or a new one; or why there is none. */
  async #openLab(): Promise<FaultLab | SwitchoverError> {
    try {
      this.#lab ??= await openFaultLab();
      return this.#lab;
    } catch (thrown) {
      return SwitchoverError.from(thrown);
    }
  }

  /** Idempotent. */
  async close(): Promise<void> {
    const lab = this.#lab;
    this.#lab = undefined;
    await lab?.close();
  }

  async #keep(logs: LabLogs, cell: FaultCell, sentence: string): Promise<void> {
    const { logsTo } = this.#options;
    if (logsTo !== undefined) await logs.keep(logsTo, cell.name, sentence);
  }
}
