import { playOnceBroken } from "./play-once-broken.ts";

playOnceBroken("an owner's stop", [
  {
    fact: "of a guest that may stay registered holds against a switchover that fails meanwhile, whose guest its VMM has run again",
    schedule: {
      seed: 266696,
      grain: "fine",
      coordinators: 1,
      nics: 1,
      feed: "heard",
      qemu: "10.2",
      staysRegisteredFor: ["paused"],
      copyUs: 185379,
      pagesUs: 4438,
      migrations: [{ mode: "live", to: 0, guest: "running", postCopyAfterMs: 5 }],
      faults: [
        { when: { migration: 0, mark: "sourceStopped", afterUs: 0 }, kind: "ownerStops" },
        {
          when: { migration: 0, mark: "sourceStopped", afterUs: 0 },
          kind: "qemuKilled",
          side: "destination",
        },
      ],
      patience: "short",
    },
  },
  {
    fact: "holds at a destination to which a dead source's statement gives the guest, and that has the source's own word",
    schedule: {
      seed: 1057412,
      grain: "coarse",
      coordinators: 1,
      nics: 1,
      feed: "heard",
      qemu: "7.2",
      copyUs: 6215,
      pagesUs: 78638,
      migrations: [{ mode: "postCopy", to: 0, guest: "running", postCopyAfterMs: 0 }],
      faults: [
        {
          when: { migration: 0, mark: "loaded", afterUs: 0 },
          kind: "hostDeclaredDead",
          side: "source",
          forUs: 754,
        },
        { when: { migration: 0, mark: "armed", afterUs: 0 }, kind: "ownerStops" },
      ],
    },
  },
]);
