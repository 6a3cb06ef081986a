import { describe, it } from "node:test";
import { skipWithout } from "../resource.ts";
import type { KindOfNic } from "./kind-of-nic.ts";
import { walkNic } from "./walk-nic.ts";

const SEED = 20140602;
const options = { skip: skipWithout("root"), timeout: 220_000 };

/** A test for each kind: whatever is done to a NIC of it after whatever, the kernel shows what it should. */
export function describeWalks(kinds: readonly KindOfNic[]): void {
  describe("whatever is done after whatever, the kernel shows what it should of", options, () => {
    for (const kind of kinds) {
      it(kind.name, async (context) => {
        const { pairs, steps } = await walkNic(kind, SEED);
        context.diagnostic(`${pairs} pairs, ${steps} steps, seed ${SEED}`);
      });
    }
  });
}
