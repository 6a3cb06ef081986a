import { SwitchoverError } from "../../../proto/error.ts";
import { type ContenderOptions, LabOfContenders } from "./lab-of-contenders.ts";
import type { Measured } from "./measured.ts";
import type { Block } from "./plan.ts";

export interface BlockRun {
  readonly lines: readonly Measured[];
  /** Migrations that could not be measured, each with a sentence. */
  readonly faults: readonly string[];
}

const MAX_FAULTS = 10;

/**
 * Measures block by block, telling each migration as soon as it is measured. A guest that the emulator killed, or a
 * migration that failed, costs its lab, and the next one goes on with a fresh lab; after ten failures the run is given up.
 */
export async function runBlocks(
  blocks: readonly Block[],
  options: ContenderOptions,
  tell: (line: Measured) => void,
): Promise<BlockRun> {
  const lines: Measured[] = [];
  const faults: string[] = [];
  for (const { items, ...attachment } of blocks) {
    let lab: LabOfContenders | undefined;
    try {
      for (const item of items) {
        const measured = await (async () => {
          lab ??= await LabOfContenders.open(attachment, options);
          return lab.measure(item);
        })().catch((thrown: unknown) => SwitchoverError.from(thrown));
        if (measured instanceof SwitchoverError) {
          faults.push(`${item.contender}, ${item.mode}, round ${item.round}: ${measured.message}`);
          if (faults.length > MAX_FAULTS) return { lines, faults };
        } else {
          lines.push(measured);
          tell(measured);
        }
        if (measured instanceof SwitchoverError || !measured.guest_alive) {
          await lab?.close();
          lab = undefined;
        }
      }
    } finally {
      await lab?.close();
    }
  }
  return { lines, faults };
}
