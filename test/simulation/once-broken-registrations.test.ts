import { playOnceBroken } from "./play-once-broken.ts";

playOnceBroken("schedules that once broke I2 or I3", [
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
]);
