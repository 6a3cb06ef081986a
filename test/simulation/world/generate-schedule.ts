import { Random } from "../engine/random.ts";
import { type Fault, MARKS, type PlannedMigration, type Schedule, type Side, type When } from "./schedule.ts";

/** The schedule that a seed stands for: one or two migrations, and up to four things that go wrong or are asked for. */
export function generateSchedule(seed: number): Schedule {
  const random = new Random(seed, 100);
  const migrations = Array.from({ length: random.pick(1, 1, 2) }, () => planMigration(random));
  const faultCount = random.pick(0, 1, 1, 1, 2, 2, 3, 4);
  return {
    seed,
    coordinators: random.pick(1, 2),
    nics: random.pick(1, 1, 2),
    qemu: random.pick("7.2", "7.2", "10.2"),
    copyUs: random.spread(5_000, 400_000),
    pagesUs: random.spread(2_000, 400_000),
    migrations,
    faults: Array.from({ length: faultCount }, () => planFault(random, migrations.length)),
  };
}

function planMigration(random: Random): PlannedMigration {
  return {
    mode: random.pick("live", "postCopy"),
    to: random.pick(0, 1),
    guest: random.chance(0.15) ? "stopped" : "running",
    postCopyAfterMs: random.pick(0, 0, 5, 60),
  };
}

function planFault(random: Random, migrations: number): Fault {
  const when: When = {
    migration: random.below(migrations),
    mark: MARKS[random.below(MARKS.length)] ?? "asked",
    afterUs: random.chance(0.3) ? 0 : random.spread(20, random.chance(0.3) ? 500_000 : 8_000),
  };
  const side: Side = random.pick("source", "destination");
  const shortly = () => random.spread(500, 3_000_000);
  const long = () => random.spread(1_000, 15_000_000);
  const kinds: readonly (() => Fault)[] = [
    () => ({ when, kind: "agentKilled", side, forUs: shortly() }),
    () => ({ when, kind: "agentKilledAtOperation", side, operation: random.below(16), forUs: shortly() }),
    () => ({ when, kind: "agentKilledAtOperation", side, operation: random.below(6), forUs: shortly() }),
    () => ({ when, kind: "agentStopped", side, forUs: shortly() }),
    () => ({ when, kind: "coordinatorKilled", coordinator: random.pick(0, 1), forUs: shortly() }),
    () => ({ when, kind: "natsKilled", forUs: shortly() }),
    () => ({ when, kind: "qemuKilled", side }),
    () => ({ when, kind: "qemuStopped", side, forUs: shortly() }),
    () => ({ when, kind: "hostCrashed", side, forUs: shortly() }),
    () => ({ when, kind: "streamReset" }),
    () => ({ when, kind: "streamStalled", forUs: long() }),
    () => ({ when, kind: "hostCutOff", side, forUs: long() }),
    () => ({
      when,
      kind: "natsCutOff",
      side: random.pick<Side | "coordinator">(side, "coordinator"),
      forUs: shortly(),
    }),
    () => ({
      when,
      kind: "linksTroubled",
      lost: random.pick(0, 0.05, 0.3),
      twice: random.pick(0, 0.1, 0.5),
      delayUs: random.spread(100, 2_000_000),
      forUs: shortly(),
    }),
    () => ({ when, kind: "diskFull", side, forUs: shortly() }),
    () => ({ when, kind: "ownerStops" }),
    () => ({ when, kind: "ownerStarts" }),
    () => ({ when, kind: "cancelAsked" }),
    () => ({ when, kind: "cancelAsked" }),
    () => ({ when, kind: "postCopyAsked" }),
    () => ({ when, kind: "pauseAsked", forUs: shortly() }),
    () => ({ when, kind: "strangerConts", side }),
  ];
  return (kinds[random.below(kinds.length)] ?? kinds[0])?.() ?? { when, kind: "streamReset" };
}
