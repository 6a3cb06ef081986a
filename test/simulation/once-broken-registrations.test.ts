import { playOnceBroken } from "./play-once-broken.ts";

playOnceBroken("schedules that once broke I2 or I3", [
  {
    fact: "a guest whose VMM dies as it starts was registered for its start, not since its CPUs stood",
    schedule: {
      seed: 1367598,
      grain: "fine",
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      staysRegisteredFor: ["paused"],
      copyUs: 14744,
      pagesUs: 276776,
      migrations: [{ mode: "live", to: 0, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        { when: { migration: 0, mark: "resumed", afterUs: 0 }, kind: "qemuKilled", side: "destination" },
      ],
    },
  },
  {
    fact: "a guest that was handed off and taken back may stay registered through its owner's pause",
    schedule: {
      seed: 1131065,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "away",
      qemu: "7.2",
      staysRegisteredFor: ["paused"],
      copyUs: 22551,
      pagesUs: 138141,
      migrations: [{ mode: "live", to: 0, guest: "running", postCopyAfterMs: 5 }],
      faults: [
        {
          when: { migration: 0, mark: "sourceCompleted", afterUs: 0 },
          kind: "cpusToggled",
          side: "source",
          runState: "paused",
          times: 3,
          everyUs: 1121,
        },
        { when: { migration: 0, mark: "sourceCompleted", afterUs: 0 }, kind: "streamReset" },
      ],
    },
  },
  {
    fact: "a source that is given its guest back while it stops it for running without the right starts it again",
    schedule: {
      seed: 1588302,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "heard",
      qemu: "10.2",
      staysRegisteredFor: ["paused"],
      copyUs: 147802,
      pagesUs: 52704,
      migrations: [{ mode: "live", to: 1, guest: "running", postCopyAfterMs: 60 }],
      faults: [
        { when: { migration: 0, mark: "sourceCompleted", afterUs: 243 }, kind: "streamReset" },
        { when: { migration: 0, mark: "handedOff", afterUs: 2642 }, kind: "strangerConts", side: "source" },
      ],
      patience: "short",
    },
  },
  {
    fact: "a NIC whose unplugging is being asked for while a destination is prepared may stay behind there",
    schedule: {
      seed: 1566415,
      grain: "fine",
      coordinators: 1,
      nics: 2,
      feed: "away",
      qemu: "7.2",
      staysRegisteredFor: ["paused"],
      copyUs: 58502,
      pagesUs: 46489,
      migrations: [{ mode: "live", to: 1, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        { when: { migration: 0, mark: "asked", afterUs: 0 }, kind: "diskFull", side: "source", forUs: 12884 },
        { when: { migration: 0, mark: "asked", afterUs: 36 }, kind: "nicUnplugged", side: "source" },
      ],
    },
  },
]);
