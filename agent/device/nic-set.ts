/**
 * All NICs of one guest's instance, armed: what is done when its CPUs start and stop.
 *
 * Everything that can be known before is worked out by `armNicSet`, so that `start` and `stop` are one send each,
 * with its acknowledgements, in one tick. Both are synchronous and may be called any number of times.
 *
 *     start   all or nothing: registered and read back on every NIC, or undone on every NIC, in reverse
 *     stop    tries every NIC and reports each; what is gone already counts as stopped. Nothing is registered when it
 *             returns; what has the kernel wait out grace periods besides comes soon after, where the route puts it off
 *
 * Devices may be created again between arming and use. Where the kernel's answers are not the plain ones, the
 * devices are looked up by name once more, and what belongs to the new ones is done there.
 */
import { SwitchoverError } from "../../proto/error.ts";
import type { RouteBatch } from "../netlink/route-batch.ts";
import type { RoutePort } from "../netlink/route-port.ts";
import { checkNicDefinitions } from "./check-nics.ts";
import type {
  NicPlace,
  NicProblem,
  PlacedNic,
  SeenLinks,
  StartOutcome,
  StopOutcome,
  VerifyOutcome,
} from "./device.ts";
import { deviceTypeOf } from "./device-types.ts";
import { findNics, type KnownDevices, placedOf } from "./find-nics.ts";
import type { NicDefinition } from "./nic-definition.ts";
import { executeEach, readLinks, splitByPlan } from "./nic-requests.ts";
import {
  judgeStop,
  type NicOperation,
  type PlannedOperation,
  planOperation,
  restOfStop,
  slowestLast,
} from "./planned-operation.ts";

/** Microseconds since some fixed moment, never going back. */
export type MonotonicClockUs = () => number;

/** What became of one NIC, and between which two moments of the clock. */
export interface NicReport<Outcome> {
  readonly nicId: string;
  readonly outcome: Outcome;
  readonly beganAtUs: number;
  readonly endedAtUs: number;
  readonly durationUs: number;
}

export type StartReport =
  | { readonly result: "started"; readonly nics: readonly NicReport<StartOutcome>[] }
  | {
      readonly result: "failed";
      /** Each NIC's own outcome; those that say `started` have been undone. */
      readonly nics: readonly NicReport<StartOutcome>[];
      readonly undo: StopReport;
    };

export interface StopReport {
  /** `stopped` where no NIC failed: then none of them is registered here. */
  readonly result: "stopped" | "failed";
  readonly nics: readonly NicReport<StopOutcome>[];
}

export interface ArmedNicSet {
  readonly nics: readonly NicDefinition[];
  /** Where the NIC was when it was last looked up. */
  placeOf(nicId: string): NicPlace | undefined;
  start(): StartReport;
  stop(): StopReport;
}

/**
 * Finds the devices of all NICs and encodes what start and stop send; changes nothing.
 * Throws INVALID_ARGUMENT for bad definitions and FAILED_PRECONDITION where a device is not where it belongs.
 */
export function armNicSet(
  route: RoutePort,
  nics: readonly NicDefinition[],
  clockUs: MonotonicClockUs,
): ArmedNicSet {
  checkNicDefinitions(nics);
  const links = readLinks(route, nics);
  const armed = nics.map((nic, index) => {
    const located = deviceTypeOf(nic).locate(nic, links);
    if (located.found === "yes") return { nic, place: located.place };
    const { reason, sentence, field } = located.problem;
    const path = field === undefined ? `nics[${index}]` : `nics[${index}].${field}`;
    throw new SwitchoverError("FAILED_PRECONDITION", sentence, { reason, field: path });
  });
  return new KernelNicSet(route, armed, clockUs);
}

/**
 * Stops each NIC wherever its device is, also one that strayed from its definition; one that is nowhere has no report.
 * Throws as `RoutePort.execute` does where the devices could not be looked for.
 */
export function stopNics(
  route: RoutePort,
  nics: readonly NicDefinition[],
  known: KnownDevices,
  clockUs: MonotonicClockUs,
): StopReport {
  const placed = findNics(route, nics, known)
    .map(placedOf)
    .filter((at) => at !== undefined);
  return new KernelNicSet(route, placed, clockUs).stop();
}

/** Judges what the kernel holds for each NIC now; changes nothing. Throws as `RoutePort.execute` does. */
export function verifyNics(
  route: RoutePort,
  nics: readonly NicDefinition[],
  known: KnownDevices = new Map(),
): VerifyOutcome[] {
  const found = findNics(route, nics, known);
  const placed = found.map(placedOf);
  const plans = placed.map((at) =>
    at === undefined ? [] : deviceTypeOf(at.nic).verify.plan(at.nic, at.place),
  );
  const results = executeEach(route, plans);
  return found.map(({ located }, index): VerifyOutcome => {
    const at = placed[index];
    const outcome =
      at === undefined
        ? undefined
        : deviceTypeOf(at.nic).verify.judge(at.nic, at.place, results[index] ?? []);
    if (located.found === "yes") return outcome ?? { registration: "absent", problem: unanswered(undefined) };
    const left = outcome === undefined ? undefined : leftOf(outcome);
    return { registration: "absent", problem: located.problem, ...(left === undefined ? {} : { left }) };
  });
}

function leftOf(outcome: VerifyOutcome): NicProblem | undefined {
  if (outcome.registration === "drifted") return outcome.quarantineProblems[0];
  if (outcome.registration !== "registered") return undefined;
  return { reason: "REGISTERED", sentence: "Its device strayed, and is registered." };
}

class KernelNicSet implements ArmedNicSet {
  readonly nics: readonly NicDefinition[];
  readonly #route: RoutePort;
  readonly #clockUs: MonotonicClockUs;
  /** In the order in which they are started and stopped. */
  #placed: readonly PlacedNic<NicDefinition>[];
  #start: PlannedOperation;
  #stop: PlannedOperation;
  /** What a stop leaves for later; undefined where it leaves nothing. */
  #rest: RouteBatch | undefined;

  constructor(route: RoutePort, placed: readonly PlacedNic<NicDefinition>[], clockUs: MonotonicClockUs) {
    this.nics = placed.map(({ nic }) => nic);
    this.#route = route;
    this.#clockUs = clockUs;
    this.#placed = slowestLast(placed);
    this.#start = this.#readyToSend("start", this.#placed);
    this.#stop = this.#readyToStop(this.#placed);
  }

  placeOf(nicId: string): NicPlace | undefined {
    return this.#placed.find(({ nic }) => nic.nicId === nicId)?.place;
  }

  start(): StartReport {
    const beganAtUs = this.#clockUs();
    let outcomes = this.#tryStart();
    if (outcomes.every(isStarted)) return { result: "started", nics: this.#reports(beganAtUs, outcomes) };
    let undo = this.#undoStart();
    const moved = this.#lookAgain();
    if (moved !== undefined) {
      this.#rearm(moved);
      outcomes = this.#tryStart();
      if (outcomes.every(isStarted)) return { result: "started", nics: this.#reports(beganAtUs, outcomes) };
      undo = this.#undoStart();
    }
    return { result: "failed", nics: this.#reports(beganAtUs, outcomes), undo };
  }

  stop(): StopReport {
    const beganAtUs = this.#clockUs();
    const report = this.#stopReport(beganAtUs, this.#stopAll(this.#placed, this.#stop));
    if (this.#rest !== undefined) this.#route.executeSoon?.(this.#rest);
    return report;
  }

  #tryStart(): StartOutcome[] {
    try {
      const results = splitByPlan(this.#route.execute(this.#start.batch), this.#start.plans);
      return this.#placed.map(({ nic, place }, index) =>
        deviceTypeOf(nic).start.judge(nic, place, results[index] ?? []),
      );
    } catch (thrown) {
      const problem = unanswered(thrown);
      return this.#placed.map(() => ({ result: "failed", problem }));
    }
  }

  #undoStart(): StopReport {
    const beganAtUs = this.#clockUs();
    const reversed = this.#placed.toReversed();
    const outcomes = this.#stopAll(reversed, planOperation("stop", reversed));
    return this.#stopReport(beganAtUs, outcomes.toReversed());
  }

  /** The outcome of each NIC, after a second try where the device may not be the one that was armed. */
  #stopAll(placed: readonly PlacedNic<NicDefinition>[], operation: PlannedOperation): StopOutcome[] {
    const outcomes = this.#tryStop(placed, operation);
    if (outcomes.every(isPlainlyStopped)) return outcomes;
    const links = this.#readLinks(placed.map(({ nic }) => nic));
    return outcomes.map((outcome, index): StopOutcome => {
      const armed = placed[index];
      if (armed === undefined || isPlainlyStopped(outcome)) return outcome;
      const located = links === undefined ? undefined : deviceTypeOf(armed.nic).locate(armed.nic, links);
      const place = located?.found === "yes" ? located.place : armed.place;
      if (outcome.result !== "failed" && samePlace(place, armed.place)) return outcome;
      const again = [{ nic: armed.nic, place }];
      return this.#tryStop(again, planOperation("stop", again))[0] ?? outcome;
    });
  }

  #tryStop(placed: readonly PlacedNic<NicDefinition>[], planned: PlannedOperation): StopOutcome[] {
    try {
      const results = splitByPlan(this.#route.execute(planned.batch), planned.plans);
      return placed.map((at, index) => judgeStop(planned.operation, at, results[index] ?? []));
    } catch (thrown) {
      const problem = unanswered(thrown);
      return placed.map(() => ({ result: "failed", problem }));
    }
  }

  /** The places of all NICs where one of them has changed, or undefined where none has or one is missing. */
  #lookAgain(): readonly PlacedNic<NicDefinition>[] | undefined {
    const links = this.#readLinks(this.nics);
    if (links === undefined) return undefined;
    const found: PlacedNic<NicDefinition>[] = [];
    let changed = false;
    for (const { nic, place } of this.#placed) {
      const located = deviceTypeOf(nic).locate(nic, links);
      if (located.found === "no") return undefined;
      changed ||= !samePlace(located.place, place);
      found.push({ nic, place: located.place });
    }
    return changed ? found : undefined;
  }

  #rearm(placed: readonly PlacedNic<NicDefinition>[]): void {
    this.#placed = placed;
    this.#start = this.#readyToSend("start", placed);
    this.#stop = this.#readyToStop(placed);
  }

  #readyToSend(operation: NicOperation, placed: readonly PlacedNic<NicDefinition>[]): PlannedOperation {
    const planned = planOperation(operation, placed);
    this.#route.ready(planned.batch);
    return planned;
  }

  #readyToStop(placed: readonly PlacedNic<NicDefinition>[]): PlannedOperation {
    this.#rest = this.#route.executeSoon === undefined ? undefined : restOfStop(placed);
    if (this.#rest === undefined) return this.#readyToSend("stop", placed);
    this.#route.ready(this.#rest);
    return this.#readyToSend("deregister", placed);
  }

  #readLinks(nics: readonly NicDefinition[]): SeenLinks | undefined {
    try {
      return readLinks(this.#route, nics);
    } catch {
      return undefined;
    }
  }

  #stopReport(beganAtUs: number, outcomes: readonly StopOutcome[]): StopReport {
    const failed = outcomes.some(({ result }) => result === "failed");
    return { result: failed ? "failed" : "stopped", nics: this.#reports(beganAtUs, outcomes) };
  }

  /** `outcomes` are in the order of the work, the reports in that of the guest's NICs. */
  #reports<Outcome>(beganAtUs: number, outcomes: readonly Outcome[]): NicReport<Outcome>[] {
    const endedAtUs = this.#clockUs();
    const durationUs = endedAtUs - beganAtUs;
    const byNic = new Map(this.#placed.map(({ nic: { nicId } }, index) => [nicId, outcomes[index]]));
    return this.nics.flatMap(({ nicId }) => {
      const outcome = byNic.get(nicId);
      return outcome === undefined ? [] : [{ nicId, outcome, beganAtUs, endedAtUs, durationUs }];
    });
  }
}

function isStarted(outcome: StartOutcome): boolean {
  return outcome.result !== "failed";
}

function isPlainlyStopped({ result }: StopOutcome): boolean {
  return result === "removed" || result === "nothingToDo";
}

function samePlace(left: NicPlace, right: NicPlace): boolean {
  return (
    left.deviceIfindex === right.deviceIfindex &&
    left.parentIfindex === right.parentIfindex &&
    left.overlayIfindex === right.overlayIfindex &&
    String(left.missingVlans) === String(right.missingVlans)
  );
}

/** For answers that did not come: what the kernel did is unknown. */
function unanswered(thrown: unknown): NicProblem {
  if (thrown === undefined)
    return { reason: "NO_ANSWER", sentence: "The kernel gave no answer for this NIC." };
  const { reason, message } = SwitchoverError.from(thrown);
  return { reason, sentence: message };
}
