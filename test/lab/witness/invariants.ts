import { findTwoWriters } from "./disk-witness.ts";
import type { DiskRecord, FdbRecord, InstanceNics, QmpRecord } from "./records.ts";
import {
  complement,
  type Interval,
  intersection,
  type Place,
  placesOf,
  type RunningInterval,
  registeredIntervals,
  runningIntervals,
  totalUs,
  union,
} from "./timeline.ts";

/**
 * Judges a recorded run by the invariants I1 to I5, from what independent witnesses saw. Pure.
 *
 * A registration is a static FDB entry of a guest's MAC on a tap of one of its instances. It is attributed to
 * the tap and not to the process behind it, because a host's next instance often takes the same tap.
 */
export interface WitnessedRun {
  /** Every QEMU of the guest that lived during the record. */
  readonly instances: readonly InstanceNics[];
  readonly fdb: readonly FdbRecord[];
  readonly qmp: readonly QmpRecord[];
  readonly disk: readonly DiskRecord[];
  /** The part of the records to judge: from when all witnesses watched to their last `settle`. */
  readonly window: Interval;
  /** When a host's agent could not act. Bounds count while it runs, and after a restart from its start. */
  readonly absences?: readonly Absence[];
}

/** From when an agent was killed or stopped until it was started or continued. */
export interface Absence extends Interval {
  readonly host: string;
}

export interface Bounds {
  /** I3: how long after its CPUs stopped a guest may still be registered. */
  readonly deregistrationUs: number;
  /** I3: how long before its CPUs start a guest may be registered already (the entry goes first, R1). */
  readonly startLeadUs: number;
  /** I2: how long after QEMU resumed its own guest the registration may come. */
  readonly rollbackUs: number;
  /** I5: how long a running guest may be without a registration. */
  readonly repairUs: number;
}

export const DEFAULT_BOUNDS: Bounds = {
  deregistrationUs: 2_000,
  startLeadUs: 50_000,
  rollbackUs: 5_000,
  repairUs: 5_000,
};

/** The same for tests: what a busy machine's scheduler adds is measured elsewhere, not asserted. */
export const UNTIMED_BOUNDS: Bounds = {
  deregistrationUs: 200_000,
  startLeadUs: 200_000,
  rollbackUs: 200_000,
  repairUs: 200_000,
};

export type InvariantName = "I1" | "I2" | "I3" | "I4" | "I5";

export interface Verdict {
  readonly invariant: InvariantName;
  readonly result: "holds" | "violated";
  /** One sentence each, with host, instance and times; empty when it holds. */
  readonly violations: readonly string[];
}

/** The five verdicts, always all five and in order. */
export function judgeRun(run: WitnessedRun, bounds: Bounds = DEFAULT_BOUNDS): Verdict[] {
  const end = run.window.toUnixUs;
  const running = run.instances.flatMap(({ instance }) => runningIntervals(run.qmp, instance, run.window));
  const places = placesOf(run.instances).map((place): WitnessedPlace => {
    const users = run.instances.filter(({ host, nics }) => host === place.host && usesPlace(nics, place));
    return {
      place,
      registered: registeredIntervals(run.fdb, place, end),
      running: running.filter(({ instance }) => users.some((user) => user.instance === instance)),
      absences: (run.absences ?? []).filter(({ host }) => host === place.host),
    };
  });
  const verdict = (invariant: InvariantName, violations: readonly string[]): Verdict => ({
    invariant,
    result: violations.length === 0 ? "holds" : "violated",
    violations,
  });
  return [
    verdict("I1", registeredTwice(places)),
    verdict("I2", startedUnregistered(places, bounds, run.window)),
    verdict("I3", registeredWhileStopped(places, bounds, run.window)),
    verdict("I4", ranTwice(running, run.disk)),
    verdict("I5", unregisteredWhileRunning(places, bounds, run.window)),
  ];
}

interface WitnessedPlace {
  readonly place: Place;
  readonly registered: readonly Interval[];
  /** Of all instances that used the place. */
  readonly running: readonly RunningInterval[];
  /** Of the place's agent. */
  readonly absences: readonly Interval[];
}

function registeredTwice(places: readonly WitnessedPlace[]): string[] {
  return pairs(places)
    .filter(([a, b]) => a.place.mac === b.place.mac)
    .flatMap(([a, b]) =>
      intersection(a.registered, b.registered).map(
        (both) =>
          `${a.place.mac} was registered on ${name(a.place)} and on ${name(b.place)} for ${lengthUs(both)} us from ${both.fromUnixUs}.`,
      ),
    );
}

function startedUnregistered(places: readonly WitnessedPlace[], bounds: Bounds, window: Interval): string[] {
  return places.flatMap(({ place, registered, running, absences }) =>
    running
      .filter(
        ({ startedBy, fromUnixUs }) => startedBy !== "before-the-record" && fromUnixUs >= window.fromUnixUs,
      )
      .flatMap(({ instance, startedBy, fromUnixUs }) => {
        const dueUnixUs =
          startedBy === "self" ? boundEnd(fromUnixUs, bounds.rollbackUs, absences) : fromUnixUs;
        const isRegistered = registered.some(
          (interval) => interval.fromUnixUs <= dueUnixUs && interval.toUnixUs > fromUnixUs,
        );
        return isRegistered
          ? []
          : [
              `The CPUs of ${instance} started at ${fromUnixUs} with ${place.mac} not registered on ${name(place)}${untilRegistered(registered, fromUnixUs)}.`,
            ];
      }),
  );
}

/** Tells a registration that came late from one that never came. */
function untilRegistered(registered: readonly Interval[], startUnixUs: number): string {
  const next = registered.find(({ fromUnixUs }) => fromUnixUs > startUnixUs);
  return next === undefined ? ", nor at any time after" : ` until ${next.fromUnixUs - startUnixUs} us later`;
}

function registeredWhileStopped(
  places: readonly WitnessedPlace[],
  bounds: Bounds,
  window: Interval,
): string[] {
  return places.flatMap(({ place, registered, running, absences }) =>
    complement(running, window).flatMap((stopped) => {
      const wasRunning = running.some(({ toUnixUs }) => toUnixUs === stopped.fromUnixUs);
      const startsAgain = running.some(({ fromUnixUs }) => fromUnixUs === stopped.toUnixUs);
      const judged = {
        fromUnixUs: stopped.fromUnixUs + (wasRunning ? bounds.deregistrationUs : 0),
        toUnixUs: stopped.toUnixUs - (startsAgain ? bounds.startLeadUs : 0),
      };
      if (judged.fromUnixUs >= judged.toUnixUs) return [];
      const excused = lengthened(absences, bounds.startLeadUs, bounds.deregistrationUs);
      const attended = complement(excused, judged);
      // What was registered for a start that did not come about is taken back within the bound.
      const isTakenBack = (interval: Interval) =>
        lengthUs(interval) <= bounds.deregistrationUs &&
        interval.fromUnixUs >= stopped.fromUnixUs &&
        interval.toUnixUs < stopped.toUnixUs;
      const held = registered.filter((interval) => !isTakenBack(interval));
      return intersection(held, attended).map(
        (part) =>
          `${place.mac} was registered on ${name(place)} with its CPUs stopped, for ${lengthUs(part)} us from ${part.fromUnixUs}.`,
      );
    }),
  );
}

function ranTwice(running: readonly RunningInterval[], disk: readonly DiskRecord[]): string[] {
  const byQemu = pairs(running)
    .filter(([a, b]) => a.instance !== b.instance)
    .flatMap(([a, b]) =>
      intersection([a], [b]).map(
        (both) =>
          `${a.instance} and ${b.instance} both ran for ${lengthUs(both)} us from ${both.fromUnixUs}.`,
      ),
    );
  const byDisk = findTwoWriters(disk).map(
    ({ seq, hosts }) => `Beat ${seq} was written to the shared disk on ${hosts.join(" and ")}.`,
  );
  return [...byQemu, ...byDisk];
}

function unregisteredWhileRunning(
  places: readonly WitnessedPlace[],
  bounds: Bounds,
  window: Interval,
): string[] {
  return places.flatMap(({ place, registered, running, absences }) =>
    intersection(running, [window])
      .flatMap((ran) => complement(registered, ran))
      .flatMap((gap) => complement(absences, gap))
      .filter((gap) => lengthUs(gap) > bounds.repairUs)
      .map(
        (gap) =>
          `${place.mac} was not registered on ${name(place)} while its CPUs ran, for ${lengthUs(gap)} us from ${gap.fromUnixUs}.`,
      ),
  );
}

/** When a bound that began to count at `fromUnixUs` has run out: it does not count while the agent is absent. */
function boundEnd(fromUnixUs: number, boundUs: number, absences: readonly Interval[]): number {
  return union(absences)
    .filter((absence) => absence.toUnixUs > fromUnixUs)
    .reduce(
      (end, absence) => (absence.fromUnixUs <= end ? absence.toUnixUs + boundUs : end),
      fromUnixUs + boundUs,
    );
}

function lengthened(intervals: readonly Interval[], beforeUs: number, afterUs: number): readonly Interval[] {
  return intervals.map(({ fromUnixUs, toUnixUs }) => ({
    fromUnixUs: fromUnixUs - beforeUs,
    toUnixUs: toUnixUs + afterUs,
  }));
}

/** What one switchover cost, as witnessed. */
export interface SwitchoverFigures {
  /** How long both sides had a registration of a MAC at once. The target is 0. */
  readonly duplicateUs: number;
  /** How long the destination had one before the source's CPUs stopped. The target is 0. */
  readonly earlyUs: number;
  /** Whether every NIC was registered at the destination when its CPUs started. */
  readonly registeredBeforeResume: "yes" | "no";
  /** From the source's STOP to its last registration gone; undefined when it had none, or kept one. */
  readonly stopToDeregisteredUs: number | undefined;
  /** From the source's STOP to the destination's RESUME; undefined when one of them is missing. */
  readonly stopToResumeUs: number | undefined;
  readonly stopAtUnixUs: number | undefined;
  readonly resumeAtUnixUs: number | undefined;
}

/** Measures the hand-over between two instances in a record that holds one migration between them. */
export function measureSwitchover(
  run: WitnessedRun,
  sourceInstance: string,
  destinationInstance: string,
): SwitchoverFigures {
  const end = run.window.toUnixUs;
  const resume = runningIntervals(run.qmp, destinationInstance, run.window).find(
    ({ startedBy }) => startedBy === "cont",
  );
  const stop = runningIntervals(run.qmp, sourceInstance, run.window).findLast(
    ({ endedBy, toUnixUs }) =>
      endedBy !== "end-of-record" && (resume === undefined || toUnixUs <= resume.fromUnixUs),
  );
  const stopAt = stop?.toUnixUs ?? end;
  const registeredBy = (instance: string) =>
    placesOf(run.instances.filter((candidate) => candidate.instance === instance)).map((place) => ({
      mac: place.mac,
      intervals: registeredIntervals(run.fdb, place, end),
    }));
  const atSource = registeredBy(sourceInstance);
  const atDestination = registeredBy(destinationInstance);
  const sourceEnds = atSource.flatMap(({ intervals }) => {
    const held = intervals.find(({ fromUnixUs, toUnixUs }) => fromUnixUs <= stopAt && toUnixUs > stopAt);
    return held === undefined ? [] : [held.toUnixUs];
  });
  const lastGone = Math.max(...sourceEnds);
  return {
    duplicateUs: Math.max(
      0,
      ...atDestination.flatMap(({ mac, intervals }) =>
        atSource
          .filter((source) => source.mac === mac)
          .map((source) => totalUs(intersection(source.intervals, intervals))),
      ),
    ),
    earlyUs: Math.max(
      0,
      ...atDestination.map(({ intervals }) =>
        totalUs(intersection(intervals, [{ fromUnixUs: run.window.fromUnixUs, toUnixUs: stopAt }])),
      ),
    ),
    registeredBeforeResume:
      resume !== undefined &&
      atDestination.every(({ intervals }) =>
        union(intervals).some(
          ({ fromUnixUs, toUnixUs }) => fromUnixUs <= resume.fromUnixUs && toUnixUs > resume.fromUnixUs,
        ),
      )
        ? "yes"
        : "no",
    stopToDeregisteredUs:
      stop === undefined || sourceEnds.length === 0 || lastGone >= end ? undefined : lastGone - stopAt,
    stopToResumeUs: stop === undefined || resume === undefined ? undefined : resume.fromUnixUs - stopAt,
    stopAtUnixUs: stop?.toUnixUs,
    resumeAtUnixUs: resume?.fromUnixUs,
  };
}

function usesPlace(nics: InstanceNics["nics"], place: Place): boolean {
  return nics.some(({ tap, mac }) => tap === place.tap && mac === place.mac);
}

function pairs<T>(items: readonly T[]): [T, T][] {
  return items.flatMap((a, index) => items.slice(index + 1).map((b): [T, T] => [a, b]));
}

function lengthUs({ fromUnixUs, toUnixUs }: Interval): number {
  return toUnixUs - fromUnixUs;
}

function name(place: Place): string {
  return `${place.host}/${place.tap}`;
}
