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
  {
    fact: "an agent whose state directory was lost does not say that a guest was never started",
    schedule: {
      seed: 1889,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      copyUs: 381_723,
      pagesUs: 2100,
      migrations: [{ mode: "postCopy", to: 1, guest: "running", postCopyAfterMs: 60 }],
      faults: [
        {
          when: { migration: 0, mark: "armed", afterUs: 0 },
          kind: "hostCutOff",
          side: "destination",
          forUs: 277_290,
        },
        {
          when: { migration: 0, mark: "contSent", afterUs: 0 },
          kind: "stateLost",
          side: "destination",
          forUs: 669,
        },
      ],
    },
  },
  {
    fact: "CPUs that stop and start while nothing can be journaled are registered while they run, and no longer",
    schedule: {
      seed: 40,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      copyUs: 84_240,
      pagesUs: 61_799,
      migrations: [{ mode: "live", to: 1, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        {
          when: { migration: 0, mark: "sourceStopped", afterUs: 0 },
          kind: "diskFull",
          side: "source",
          forUs: 474_125,
        },
        {
          when: { migration: 0, mark: "sourceStopped", afterUs: 0 },
          kind: "cpusToggled",
          side: "source",
          runState: "io-error",
          times: 5,
          everyUs: 79_332,
        },
      ],
    },
  },
  {
    fact: "what waits for a full disk is told once",
    schedule: {
      seed: 20,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      copyUs: 5099,
      pagesUs: 4493,
      migrations: [{ mode: "live", to: 0, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        {
          when: { migration: 0, mark: "sourceStopped", afterUs: 0 },
          kind: "diskFull",
          side: "source",
          forUs: 1015,
        },
      ],
    },
  },
  {
    fact: "an instance that no migration has claimed refuses what was overtaken, also after its agent's restart",
    schedule: {
      seed: 81,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      copyUs: 31_912,
      pagesUs: 2462,
      migrations: [
        { mode: "postCopy", to: 1, guest: "stopped", postCopyAfterMs: 5 },
        { mode: "live", to: 0, guest: "running", postCopyAfterMs: 0 },
      ],
      faults: [
        {
          when: { migration: 1, mark: "prepared", afterUs: 0 },
          kind: "agentKilled",
          side: "destination",
          forUs: 1000,
        },
        {
          when: { migration: 1, mark: "prepared", afterUs: 201_943 },
          kind: "commandOvertaken",
          side: "destination",
          command: "prepareDestination",
        },
      ],
    },
  },
  {
    fact: "a destination whose bridge was made anew meanwhile starts its guest",
    schedule: {
      seed: 2504,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "10.2",
      copyUs: 344_583,
      pagesUs: 110_286,
      migrations: [{ mode: "postCopy", to: 1, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        {
          when: { migration: 0, mark: "sourceStopped", afterUs: 0 },
          kind: "bridgeRecreated",
          side: "destination",
          forUs: 933,
        },
      ],
    },
  },
  {
    fact: "a source that resumes on a bridge that was made anew is registered there",
    schedule: {
      seed: 3766,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      copyUs: 348_991,
      pagesUs: 5354,
      migrations: [{ mode: "postCopy", to: 1, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        {
          when: { migration: 0, mark: "sourceStopped", afterUs: 0 },
          kind: "hostDeclaredDead",
          side: "destination",
          forUs: 909,
        },
        {
          when: { migration: 0, mark: "transferring", afterUs: 0 },
          kind: "agentKilled",
          side: "source",
          forUs: 324,
        },
        {
          when: { migration: 0, mark: "armed", afterUs: 0 },
          kind: "bridgeRecreated",
          side: "source",
          forUs: 402,
        },
      ],
    },
  },
  {
    fact: "a guest that stands since a migration, and whose VMM therefore refuses the next, can be started",
    schedule: {
      seed: 5978,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      copyUs: 290_188,
      pagesUs: 256_299,
      migrations: [
        { mode: "live", to: 0, guest: "running", postCopyAfterMs: 60 },
        { mode: "live", to: 1, guest: "running", postCopyAfterMs: 60 },
      ],
      faults: [
        {
          when: { migration: 0, mark: "contSent", afterUs: 572 },
          kind: "hostDeclaredDead",
          side: "destination",
          forUs: 292,
        },
        {
          when: { migration: 0, mark: "resumed", afterUs: 0 },
          kind: "stateLost",
          side: "source",
          forUs: 604,
        },
      ],
    },
  },
  {
    fact: "a guest that its destination started, and that stands again when the agent comes back, is known to be there",
    schedule: {
      seed: 603507,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "10.2",
      copyUs: 77_968,
      pagesUs: 4_360,
      migrations: [{ mode: "live", to: 0, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        {
          when: { migration: 0, mark: "transferring", afterUs: 4_504 },
          kind: "agentKilledAtOperation",
          side: "destination",
          operation: 9,
          forUs: 923,
        },
        {
          when: { migration: 0, mark: "sourceCompleted", afterUs: 0 },
          kind: "cpusToggled",
          side: "destination",
          runState: "io-error",
          times: 6,
          everyUs: 633,
        },
      ],
    },
  },
  {
    fact: "a destination that alone can run the guest waits for its bridge, however long that is away",
    schedule: {
      seed: 115080,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "10.2",
      copyUs: 11_446,
      pagesUs: 156_923,
      migrations: [{ mode: "postCopy", to: 1, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        {
          when: { migration: 0, mark: "sourceCompleted", afterUs: 0 },
          kind: "bridgeRecreated",
          side: "destination",
          forUs: 92_465,
        },
      ],
    },
  },
  {
    fact: "an agent that comes back does not tell again what its predecessor told",
    schedule: {
      seed: 51012,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "10.2",
      copyUs: 205_347,
      pagesUs: 3213,
      migrations: [{ mode: "live", to: 1, guest: "running", postCopyAfterMs: 5 }],
      faults: [
        {
          when: { migration: 0, mark: "resumed", afterUs: 34 },
          kind: "agentKilled",
          side: "destination",
          forUs: 340,
        },
        {
          when: { migration: 0, mark: "prepared", afterUs: 0 },
          kind: "agentKilledAtOperation",
          side: "destination",
          operation: 3,
          forUs: 634,
        },
      ],
    },
  },
  {
    fact: "a stream that broke while the right to run moved is recovered by whoever has it",
    schedule: {
      seed: 1035445,
      coordinators: 1,
      nics: 1,
      feed: "heard",
      qemu: "10.2",
      copyUs: 139805,
      pagesUs: 65975,
      migrations: [{ mode: "postCopy", to: 0, guest: "running", postCopyAfterMs: 5 }],
      faults: [
        { when: { migration: 0, mark: "sourceCompleted", afterUs: 0 }, kind: "streamReset" },
        {
          when: { migration: 0, mark: "sourceStopped", afterUs: 0 },
          kind: "bridgeRecreated",
          side: "destination",
          forUs: 11034,
        },
      ],
    },
  },
  {
    fact: "a guest that somebody started again before its transfer was complete stays where it runs",
    schedule: {
      seed: 1006877,
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "10.2",
      copyUs: 8306,
      pagesUs: 49402,
      migrations: [
        { mode: "live", to: 1, guest: "running", postCopyAfterMs: 5 },
        { mode: "live", to: 0, guest: "running", postCopyAfterMs: 0 },
      ],
      faults: [
        { when: { migration: 0, mark: "handedOff", afterUs: 0 }, kind: "qemuKilled", side: "destination" },
        { when: { migration: 1, mark: "sourceStopped", afterUs: 0 }, kind: "strangerConts", side: "source" },
      ],
    },
  },
  {
    fact: "a destination lives until a post-copy source that forgot its guest has it back",
    schedule: {
      seed: 73140,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      copyUs: 25969,
      pagesUs: 10161,
      migrations: [{ mode: "postCopy", to: 0, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        {
          when: { migration: 0, mark: "sourceCompleted", afterUs: 0 },
          kind: "stateLost",
          side: "source",
          forUs: 770,
        },
        { when: { migration: 0, mark: "loaded", afterUs: 0 }, kind: "streamReset" },
      ],
    },
  },
  {
    fact: "a guest that came back stopped is told to be back once, whoever starts it later",
    schedule: {
      seed: 85007,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      copyUs: 32548,
      pagesUs: 3080,
      migrations: [
        { mode: "postCopy", to: 0, guest: "stopped", postCopyAfterMs: 0 },
        { mode: "live", to: 1, guest: "running", postCopyAfterMs: 5 },
      ],
      faults: [
        { when: { migration: 0, mark: "sourceCompleted", afterUs: 2648 }, kind: "streamReset" },
        {
          when: { migration: 0, mark: "armed", afterUs: 0 },
          kind: "agentKilledAtOperation",
          side: "destination",
          operation: 0,
          forUs: 927,
        },
      ],
    },
  },
  {
    fact: "a destination that handed back, was away while its pages became complete and is given the guest after all completes",
    schedule: {
      seed: 148755,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "10.2",
      copyUs: 78038,
      pagesUs: 315237,
      migrations: [{ mode: "postCopy", to: 0, guest: "running", postCopyAfterMs: 60 }],
      faults: [
        {
          when: { migration: 0, mark: "loaded", afterUs: 0 },
          kind: "bridgeRecreated",
          side: "destination",
          forUs: 2417,
        },
        {
          when: { migration: 0, mark: "transferring", afterUs: 0 },
          kind: "agentKilledAtOperation",
          side: "destination",
          operation: 11,
          forUs: 822231,
        },
      ],
    },
  },
  {
    fact: "what an owner does to a guest that was kept before its transfer began is told as his, each time",
    schedule: {
      seed: 156281,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "heard",
      qemu: "10.2",
      copyUs: 11437,
      pagesUs: 298619,
      migrations: [{ mode: "postCopy", to: 1, guest: "running", postCopyAfterMs: 60 }],
      faults: [
        {
          when: { migration: 0, mark: "prepared", afterUs: 8263 },
          kind: "cpusToggled",
          side: "source",
          runState: "paused",
          times: 4,
          everyUs: 1763,
        },
        { when: { migration: 0, mark: "armed", afterUs: 0 }, kind: "cancelAsked" },
      ],
    },
  },
  {
    fact: "a post-copy destination's VMM is kept for a source that does not know whether it has the guest, also where its owner had stopped that",
    schedule: {
      seed: 73140,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      copyUs: 25969,
      pagesUs: 10161,
      migrations: [{ mode: "postCopy", to: 0, guest: "stopped", postCopyAfterMs: 0 }],
      faults: [
        {
          when: { migration: 0, mark: "sourceCompleted", afterUs: 0 },
          kind: "stateLost",
          side: "source",
          forUs: 770,
        },
        { when: { migration: 0, mark: "loaded", afterUs: 0 }, kind: "streamReset" },
      ],
    },
  },
  {
    fact: "a guest that was kept before its transfer began is told to be back once, however often somebody stops and starts it",
    schedule: {
      seed: 5,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "heard",
      qemu: "10.2",
      copyUs: 200000,
      pagesUs: 10161,
      migrations: [{ mode: "live", to: 0, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        { when: { migration: 0, mark: "prepared", afterUs: 3000 }, kind: "cancelAsked" },
        {
          when: { migration: 0, mark: "prepared", afterUs: 8000 },
          kind: "cpusToggled",
          side: "source",
          runState: "paused",
          times: 4,
          everyUs: 3000,
        },
      ],
    },
  },
  {
    fact: "a source that forgot its word and is adopted again is not started against the destination that has the guest",
    schedule: {
      seed: 2020,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "heard",
      qemu: "10.2",
      copyUs: 8775,
      pagesUs: 199856,
      adoptedAgain: "livingAtOnce",
      migrations: [{ mode: "live", to: 1, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        { when: { migration: 0, mark: "loaded", afterUs: 0 }, kind: "ownerStarts" },
        {
          when: { migration: 0, mark: "handedOff", afterUs: 0 },
          kind: "stateLost",
          side: "source",
          forUs: 652,
        },
      ],
    },
  },
  {
    fact: "a source that forgot its word does not say that it kept the guest",
    schedule: {
      seed: 9653,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "10.2",
      copyUs: 46438,
      pagesUs: 4749,
      adoptedAgain: "livingAtOnce",
      migrations: [{ mode: "postCopy", to: 0, guest: "running", postCopyAfterMs: 60 }],
      faults: [
        {
          when: { migration: 0, mark: "contSent", afterUs: 103 },
          kind: "hostCrashed",
          side: "destination",
          forUs: 567,
        },
        {
          when: { migration: 0, mark: "contSent", afterUs: 0 },
          kind: "stateLost",
          side: "source",
          forUs: 349,
        },
      ],
    },
  },
  {
    fact: "a source that forgot its word stops no guest that may run elsewhere",
    schedule: {
      seed: 10593,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "10.2",
      copyUs: 52579,
      pagesUs: 5285,
      adoptedAgain: "livingAtOnce",
      migrations: [{ mode: "postCopy", to: 0, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        {
          when: { migration: 0, mark: "resumed", afterUs: 0 },
          kind: "stateLost",
          side: "source",
          forUs: 819,
        },
        { when: { migration: 0, mark: "loaded", afterUs: 0 }, kind: "ownerStops" },
      ],
    },
  },
  {
    fact: "a post-copy guest that its source forgot and cannot take back is started where its pages are, after all",
    schedule: {
      seed: 18543,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "10.2",
      copyUs: 95070,
      pagesUs: 393086,
      migrations: [{ mode: "postCopy", to: 0, guest: "running", postCopyAfterMs: 5 }],
      faults: [
        { when: { migration: 0, mark: "loaded", afterUs: 0 }, kind: "stateLost", side: "source", forUs: 422 },
      ],
      adoptedAgain: "livingAtOnce",
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
