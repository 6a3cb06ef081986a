import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runSchedule } from "./world/run.ts";
import type { Schedule } from "./world/schedule.ts";

/** A shrunk schedule, under the fact that was not so when it was found. */
export interface OnceBroken {
  readonly fact: string;
  readonly schedule: Schedule;
}

/** Plays each schedule as a test of its own, which passes where no invariant breaks. */
export function playOnceBroken(about: string, onceBroken: readonly OnceBroken[]): void {
  describe(about, () => {
    for (const { fact, schedule } of onceBroken) {
      it(fact, async () => {
        const { violation } = await runSchedule(schedule);
        assert.equal(violation, null);
      });
    }
  });
}
