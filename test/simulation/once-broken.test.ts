import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runSchedule } from "./world/run.ts";
import type { Schedule } from "./world/schedule.ts";

const SCHEDULES: readonly { readonly fact: string; readonly schedule: Schedule }[] = [
  {
    fact: "a source that repeats that it is armed has that on disk, when its host then crashes",
    schedule: {
      seed: 47584,
      coordinators: 1,
      nics: 1,
      feed: "heard",
      qemu: "7.2",
      copyUs: 252_824,
      pagesUs: 4_895,
      migrations: [
        { mode: "postCopy", to: 0, guest: "running", postCopyAfterMs: 0 },
        { mode: "postCopy", to: 1, guest: "running", postCopyAfterMs: 0 },
      ],
      faults: [
        {
          when: { migration: 0, mark: "contSent", afterUs: 0 },
          kind: "agentKilled",
          side: "destination",
          forUs: 641,
        },
        {
          when: { migration: 1, mark: "transferring", afterUs: 0 },
          kind: "hostCrashed",
          side: "source",
          forUs: 739,
        },
        {
          when: { migration: 1, mark: "prepared", afterUs: 7_258 },
          kind: "agentKilled",
          side: "source",
          forUs: 294,
        },
      ],
    },
  },
];

describe("schedules that once broke an invariant", () => {
  for (const { fact, schedule } of SCHEDULES) {
    it(fact, async () => {
      const { violation } = await runSchedule(schedule);
      assert.equal(violation, null);
    });
  }
});
