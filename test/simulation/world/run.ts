import { takeBrokenPromise } from "../engine/broken-promises.ts";
import { Turns } from "../engine/turns.ts";
import { type Breakage, UNBROKEN } from "./breakage.ts";
import { ControlPlane } from "./control-plane.ts";
import { FaultInjector } from "./fault-injector.ts";
import { judgeEnd } from "./final-judgement.ts";
import { InvariantChecker, type Violation } from "./invariants.ts";
import { HOST_IDS } from "./names.ts";
import { Operator } from "./operator.ts";
import type { FaultKind, Schedule } from "./schedule.ts";
import { type Trace, World } from "./world.ts";

/** What came of a run. */
export interface RunReport {
  readonly violation: Violation | null;
  readonly steps: number;
  readonly checks: number;
  readonly virtualMs: number;
  /** Faults that came about; one whose moment never came did not. */
  readonly faults: readonly FaultKind[];
  readonly endings: ControlPlane["endings"];
}

/** A run that is still busy after so long has a loop in it. */
const STEPS_AT_MOST = 200_000;
/** From when all is healed: longer than any retry, deadline and fencing of the code, and than an operator needs. */
const HEALING_US = 240_000_000;
/** After everything has come to rest: late messages must do no harm. */
const AFTERMATH_US = 200_000;
const LONG_AFTERMATH_US = 3_000_000;
/** What makes messages late. */
const LATE: ReadonlySet<FaultKind> = new Set(["linksTroubled", "callsRepeated", "hostCutOff", "natsCutOff"]);
const DRAIN_WITHIN_MS = 30_000;
/** What is still open after so long waits for a person, who comes once all is healed; no fault lasts longer than half of it. */
const SCENARIO_US = 30_000_000;

/** Plays one schedule; the same one always in the same way. */
export async function runSchedule(
  schedule: Schedule,
  breakage: Breakage = UNBROKEN,
  traceTo?: (line: string) => void,
): Promise<RunReport> {
  const trace: Trace | undefined =
    traceTo === undefined
      ? undefined
      : (who, what) => traceTo(`${(world.timeline.nowUs / 1_000).toFixed(3).padStart(12)} ${who}: ${what}`);
  const world: World = new World(schedule, breakage, trace);
  const control = new ControlPlane(world);
  const operator = new Operator(world, control);
  const injector = new FaultInjector(world, control, operator);
  const checker = new InvariantChecker(world);
  const turns = new Turns();
  let steps = 0;
  let violation: Violation | null = null;
  let crash: unknown;

  const judgeStep = (): void => {
    steps += 1;
    injector.look();
    crash ??= takeBrokenPromise();
    if (crash !== undefined) throw crash;
    violation = checker.check();
    if (steps > STEPS_AT_MOST) {
      violation ??= { invariant: "I8", sentence: `The run is still busy after ${steps} steps.` };
    }
  };
  const stepUntil = (untilUs: number, isOver: () => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const step = (): void => {
        if (violation !== null || isOver() || world.timeline.step(untilUs) === "nothing left") resolve();
        else turns.next(judge);
      };
      const judge = (): void => {
        try {
          judgeStep();
          step();
        } catch (thrown) {
          reject(thrown);
        }
      };
      step();
    });

  for (const hostId of HOST_IDS) world.startAgent(hostId);
  for (let index = 0; index < schedule.coordinators; index += 1) world.startCoordinator(index);
  let scenario: "going on" | "over" = "going on";
  void (async () => {
    await control.boot();
    for (const [index, plan] of schedule.migrations.entries()) {
      await control.migrate(index, plan, () => injector.begin(index));
    }
  })().then(
    () => {
      scenario = "over";
    },
    (thrown: unknown) => {
      crash = thrown;
      scenario = "over";
    },
  );
  await stepUntil(SCENARIO_US, () => scenario === "over");
  injector.heal();
  void operator.attendToLostState();
  const healedAtUs = world.timeline.nowUs;
  await stepUntil(
    healedAtUs + HEALING_US,
    () => scenario === "over" && judgeEnd(world, control, injector.happened.length) === null,
  );
  violation ??= judgeEnd(world, control, injector.happened.length);
  await stepUntil(world.timeline.nowUs + aftermathUs(schedule), () => false);
  violation ??= judgeEnd(world, control, injector.happened.length);
  let unsent: number | null = null;
  void world.unsentEvents(DRAIN_WITHIN_MS).then((count) => {
    unsent = count;
  });
  await new Promise<void>((resolve) => turns.next(resolve));
  await stepUntil(world.timeline.nowUs + DRAIN_WITHIN_MS * 1_000, () => unsent !== null);
  if (unsent !== 0) violation ??= { invariant: "I7", sentence: `${unsent} events never reached the feed.` };
  world.close();
  return {
    violation,
    steps,
    checks: checker.checks,
    virtualMs: world.timeline.nowUs / 1_000,
    faults: injector.happened,
    endings: control.endings,
  };
}

function aftermathUs({ faults }: Schedule): number {
  return faults.some(({ kind }) => LATE.has(kind)) ? LONG_AFTERMATH_US : AFTERMATH_US;
}
