import { playOnceBroken } from "./play-once-broken.ts";

playOnceBroken("schedules of which the feed once told too much or too little", [
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
]);
