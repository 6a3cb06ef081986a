import assert from "node:assert/strict";
import { test } from "node:test";
import { skipWithout } from "../resource.ts";
import { pairedDifference } from "./paired-difference.ts";
import type { ContenderOptions } from "./switchover/lab-of-contenders.ts";
import { planBlocks } from "./switchover/plan.ts";
import { runBlocks } from "./switchover/run-blocks.ts";
import { floorOf, pairedWith } from "./switchover/summary.ts";

const ROUNDS = 9;
/** Of pairs that both guests have lived through: the emulator kills one now and then. */
const PAIRS_NEEDED = 6;

test("between ready and RESUME the switchover of eight NICs takes less than forked commands do, in the median of pairs", {
  skip: skipWithout("root", "qemu", "natsServer"),
  timeout: 600_000,
}, async (t) => {
  const seed = 1;
  const blocks = planBlocks({
    contenders: ["switchover", "shell"],
    modes: ["live"],
    nics: [8],
    devices: ["tap"],
    count: ROUNDS,
    seed,
  });
  const options: ContenderOptions = {
    seed,
    kernelWitnesses: "none",
    probeIntervalMs: 5,
    coordinatorScheduling: "normal",
  };
  const { faults, lines } = await runBlocks(blocks, options, () => {});
  assert.deepEqual(faults, []);
  const alive = lines.filter((line) => line.guest_alive);
  const shell = floorOf(alive, "shell");
  const own = alive.filter(({ contender }) => contender === "switchover");
  const differences = pairedWith(shell, own, (line) => line.added_ms);
  assert.ok(differences.length >= PAIRS_NEEDED, `Only ${differences.length} pairs.`);
  const { median } = pairedDifference(differences);
  t.diagnostic(
    `added, Switchover less the shell's: ${JSON.stringify(median)} ms of ${differences.length} pairs`,
  );
  assert.ok(median !== null && median.value < 0, JSON.stringify(differences));
});
