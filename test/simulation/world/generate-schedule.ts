import { Random } from "../engine/random.ts";
import { planPlugging, planWiring } from "./plan-wiring.ts";
import {
  type Fault,
  MARKS,
  type Mark,
  OVERTAKEN_COMMANDS,
  type PlannedMigration,
  type Schedule,
  type Side,
  type When,
} from "./schedule.ts";

/** The part of the schedules whose runs are cut into steps as finely as can be. */
const FINE = 0.2;
/** The part of those whose agents let a guest stay registered that its owner paused. */
const STAYING = 0.2;
/** The parts with a second migration, which costs nearly a run more: where that repeats the first, and others. */
const AGAIN = 0.1;
const TWICE = 0.05;
/** The part in which a silent agent's commands are given up. */
const IMPATIENT = 0.25;

type Plan = "anything" | "sharp" | "again" | "full" | "lost" | "started";

/** The schedule that a seed stands for: one or two migrations, and up to four things that go wrong or are asked for. */
export function generateSchedule(seed: number): Schedule {
  const random = new Random(seed, 100);
  const plan = random.chance(0.06)
    ? random.pick<Plan>("full", "lost", "started")
    : random.chance(AGAIN)
      ? "again"
      : random.pick<Plan>("anything", "anything", "sharp");
  const drawn = Array.from({ length: plan === "again" || random.chance(TWICE) ? 2 : 1 }, () =>
    planMigration(random),
  );
  const { undone, ...wiring } = planWiring(new Random(seed, 105), drawn.length);
  const { migrations, plugged } = planPlugging(new Random(seed, 106), drawn);
  const planned: Schedule = {
    seed,
    grain: new Random(seed, 101).chance(FINE) ? "fine" : "coarse",
    coordinators: random.pick(1, 1, 2),
    nics: random.pick(1, 1, 2),
    ...wiring,
    feed: random.pick("heard", "away", "away"),
    qemu: random.pick("7.2", "7.2", "10.2"),
    ...(new Random(seed, 102).chance(STAYING) ? { staysRegisteredFor: ["paused"] } : {}),
    copyUs: random.spread(5_000, 400_000),
    pagesUs: random.spread(2_000, 400_000),
    migrations,
    faults: [...planFaults(random, plan, migrations.length), ...undone, ...plugged],
  };
  const isStateLost = planned.faults.some(({ kind }) => kind === "stateLost");
  return {
    ...planned,
    ...(isStateLost && { adoptedAgain: new Random(seed, 103).pick("running", "living", "livingAtOnce") }),
    ...(new Random(seed, 104).chance(IMPATIENT) && { patience: "short" }),
  };
}

function planFaults(random: Random, plan: Plan, migrations: number): Fault[] {
  if (plan === "again") return planRepeats(random);
  if (plan === "full") return planTogglingOnFullDisk(random, migrations);
  if (plan === "lost") return planLostState(random, migrations);
  if (plan === "started") return planDeathAtStart(random, migrations);
  const count = plan === "sharp" ? random.pick(1, 1, 2) : random.pick(0, 1, 1, 2, 2, 3, 4);
  const planOne = plan === "sharp" ? planSharpFault : planFault;
  return Array.from({ length: count }, () => planOne(random, migrations));
}

/** The first of two migrations does not last, and what was asked of agents comes again in the second. */
function planRepeats(random: Random): Fault[] {
  const asked: When = { migration: 0, mark: "asked", afterUs: 0 };
  const first: When = { migration: 0, mark: pickMark(random), afterUs: random.spread(20, 10_000) };
  const ends: readonly (() => Fault)[] = [
    () => ({ when: first, kind: "cancelAsked" }),
    () => ({ when: first, kind: "streamReset" }),
    () => ({ when: first, kind: "qemuKilled", side: "destination" }),
    () => ({ when: first, kind: "pauseAsked", forUs: random.spread(1_000, 100_000) }),
  ];
  const delayUs = random.spread(10_000, 1_000_000);
  return [
    { when: asked, kind: "callsRepeated", delayUs, forUs: 2_000_000 },
    pickOne(random, ends)(),
    ...(random.chance(0.3) ? [planFault(random, 2)] : []),
    ...(random.chance(0.1) ? planOvertakenAfterRestart(random) : []),
  ];
}

/** What happens to CPUs while nothing can be journaled waits, and more happens. */
function planTogglingOnFullDisk(random: Random, migrations: number): Fault[] {
  const when: When = { migration: random.below(migrations), mark: pickMark(random), afterUs: 0 };
  const side: Side = random.pick("source", "source", "destination");
  const soon: When = { ...when, afterUs: random.spread(20, 20_000) };
  return [
    { when, kind: "diskFull", side, forUs: random.spread(5_000, 1_000_000) },
    planToggling(random, soon, side),
    ...(random.chance(0.3) ? [planFault(random, migrations)] : []),
  ];
}

/** Who was given the guest, or gave it away, knows nothing of that any more, and is asked. */
function planLostState(random: Random, migrations: number): Fault[] {
  const migration = random.below(migrations);
  const mark = pickOne<Mark>(random, ["sourceStopped", "handedOff", "loaded", "contSent", "resumed"]);
  const when: When = { migration, mark, afterUs: random.spread(10, 100_000) };
  const before: When = { migration, mark: "armed", afterUs: random.spread(20, 10_000) };
  const forUs = random.spread(10_000, 3_000_000);
  const side: Side = random.pick("source", "destination", "destination");
  return [
    // The word goes by the coordinator's hand then, which asks whether it came.
    pickOne<() => Fault>(random, [
      () => ({ when: before, kind: "natsCutOff", side: "source", forUs }),
      () => ({ when: before, kind: "hostCutOff", side: random.pick("source", "destination"), forUs }),
      () => ({ when, kind: "hostCrashed", side: random.pick("source", "destination"), forUs }),
      () => ({ when: before, kind: "natsKilled", forUs }),
      () => planFault(random, migrations),
    ])(),
    { when, kind: "stateLost", side, forUs: random.spread(500, 3_000_000) },
  ];
}

/** A destination's agent dies with its `cont` on the way, and the VMM that has the guest by then while nobody is there. */
function planDeathAtStart(random: Random, migrations: number): Fault[] {
  const contSent: When = { migration: random.below(migrations), mark: "contSent", afterUs: 0 };
  return [
    {
      when: { ...contSent, afterUs: random.between(0, 150) },
      kind: "agentKilled",
      side: "destination",
      forUs: random.spread(500, 3_000_000),
    },
    {
      when: { ...contSent, afterUs: random.spread(200, 150_000) },
      kind: "qemuKilled",
      side: "destination",
    },
    ...(random.chance(0.3) ? [planFault(random, migrations)] : []),
  ];
}

/** An instance that no migration has claimed yet is brought back by its agent, and hears what was overtaken long ago. */
function planOvertakenAfterRestart(random: Random): Fault[] {
  const prepared: When = { migration: 1, mark: "prepared", afterUs: 0 };
  const restarted: When = { ...prepared, afterUs: random.between(200_000, 204_000) };
  return [
    { when: prepared, kind: "agentKilled", side: "destination", forUs: 1_000 },
    planOvertaken(random, restarted, "destination"),
  ];
}

/** Somebody dies just where it matters. */
function planSharpFault(random: Random, migrations: number): Fault {
  const marks: readonly Mark[] = [
    "sourceStopped",
    "sourceCompleted",
    "handedOff",
    "loaded",
    "contSent",
    "resumed",
  ];
  const when: When = {
    migration: random.below(migrations),
    mark: marks[random.below(marks.length)] ?? "resumed",
    afterUs: random.chance(0.3) ? 0 : random.spread(10, 3_000),
  };
  const side: Side = random.pick("source", "destination");
  const forUs = random.spread(500, 3_000_000);
  return pickOne<() => Fault>(random, [
    () => ({ when, kind: "agentKilled", side, forUs }),
    () => ({ when, kind: "agentKilledAtOperation", side, operation: random.below(8), forUs }),
    () => ({ when, kind: "qemuKilled", side }),
    () => ({ when, kind: "coordinatorKilled", coordinator: 0, forUs }),
    () => ({ when, kind: "streamReset" }),
    () => ({ when, kind: "strangerConts", side }),
    () => ({ when, kind: "cancelAsked" }),
  ])();
}

function pickMark(random: Random): Mark {
  return MARKS[random.below(MARKS.length)] ?? "asked";
}

function pickOne<T>(random: Random, choices: readonly [T, ...T[]] | readonly T[]): T {
  const picked = choices[random.below(choices.length)];
  if (picked === undefined) throw new Error("There is nothing to choose from.");
  return picked;
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
    mark: pickMark(random),
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
    () => ({ when, kind: "stateLost", side, forUs: shortly() }),
    () => ({ when, kind: "entryFlushed", side }),
    () => ({ when, kind: "entryTaken", side }),
    () => ({ when, kind: "changesLost", side, forUs: random.spread(100, 100_000) }),
    () => ({ when, kind: "bridgeRecreated", side, forUs: random.spread(100, 3_000_000) }),
    () => ({ when, kind: "ownerStops" }),
    () => ({ when, kind: "ownerStarts" }),
    () => ({ when, kind: "cancelAsked" }),
    () => ({ when, kind: "cancelAsked" }),
    () => ({ when, kind: "postCopyAsked" }),
    () => ({ when, kind: "pauseAsked", forUs: shortly() }),
    () => ({ when, kind: "strangerConts", side }),
    () => planToggling(random, when, side),
    () => planOvertaken(random, when, side),
    () => ({ when, kind: "hostDeclaredDead", side, forUs: shortly() }),
    () => ({ when, kind: "sourceResumeAsked" }),
    () => ({ when, kind: "guestGivenUp" }),
  ];
  return pickOne(random, kinds)();
}

function planToggling(random: Random, when: When, side: Side): Fault {
  return {
    when,
    kind: "cpusToggled",
    side,
    runState: random.pick("paused", "io-error"),
    times: random.between(1, 6),
    everyUs: random.spread(100, 300_000),
  };
}

function planOvertaken(random: Random, when: When, side: Side): Fault {
  return { when, kind: "commandOvertaken", side, command: pickOne(random, OVERTAKEN_COMMANDS) };
}
