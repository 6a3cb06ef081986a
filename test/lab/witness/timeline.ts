import type { FdbRecord, InstanceNics, QmpRecord } from "./records.ts";

/** Half-open, in microseconds of CLOCK_REALTIME. */
export interface Interval {
  readonly fromUnixUs: number;
  readonly toUnixUs: number;
}

/** One tap with one guest MAC: the place where an FDB entry makes a host deliver to the guest. */
export interface Place {
  readonly host: string;
  readonly tap: string;
  readonly mac: string;
}

/** The times at which a static entry of the MAC pointed at the place's tap, on whichever bridge and VLAN. */
export function registeredIntervals(
  records: readonly FdbRecord[],
  place: Place,
  endUnixUs: number,
): Interval[] {
  const intervals: Interval[] = [];
  const open = new Map<string, number>();
  const ours = records
    .filter(({ host, mac }) => host === place.host && mac === place.mac)
    .toSorted((a, b) => a.atUnixUs - b.atUnixUs);
  for (const record of ours) {
    const key = `${record.bridge} ${record.vlan ?? ""}`;
    const since = open.get(key);
    const registers = record.change !== "deleted" && record.state === "static" && record.dev === place.tap;
    // A bridge keeps one entry of a MAC and VLAN: an entry on another port says that ours has moved there.
    if (registers && since === undefined) open.set(key, record.atUnixUs);
    if (!registers && since !== undefined) {
      open.delete(key);
      intervals.push({ fromUnixUs: since, toUnixUs: record.atUnixUs });
    }
  }
  for (const since of open.values()) intervals.push({ fromUnixUs: since, toUnixUs: endUnixUs });
  return union(intervals);
}

export interface RunningInterval extends Interval {
  readonly instance: string;
  /** `self`: QEMU resumed its own guest after a migration that failed or was cancelled; nobody sent `cont`. */
  readonly startedBy: "cont" | "self" | "before-the-record";
  readonly endedBy: "stop" | "gone" | "end-of-record";
}

/**
 * When one instance's CPUs ran, by QEMU's own events. An instance that runs when its witness first asks is
 * taken to have run since before the window: a witness attaches before the first `cont`.
 */
export function runningIntervals(
  records: readonly QmpRecord[],
  instance: string,
  window: Interval,
): RunningInterval[] {
  const intervals: RunningInterval[] = [];
  let running: { fromUnixUs: number; startedBy: RunningInterval["startedBy"] } | undefined;
  let failedSinceStop: "failed" | "none" = "none";
  const end = (toUnixUs: number, endedBy: RunningInterval["endedBy"]) => {
    if (running !== undefined) intervals.push({ instance, ...running, toUnixUs, endedBy });
    running = undefined;
  };
  const ours = records
    .filter((record) => record.instance === instance)
    .toSorted((a, b) => a.atUnixUs - b.atUnixUs);
  for (const { atUnixUs, fact } of ours) {
    if (fact.kind === "gone") end(atUnixUs, "gone");
    if (fact.kind === "first-status" && fact.running) {
      running ??= { fromUnixUs: window.fromUnixUs, startedBy: "before-the-record" };
    }
    if (fact.kind !== "event") continue;
    if (fact.name === "RESUME") {
      running ??= { fromUnixUs: atUnixUs, startedBy: failedSinceStop === "failed" ? "self" : "cont" };
    }
    if (fact.name === "STOP") {
      end(atUnixUs, "stop");
      failedSinceStop = "none";
    }
    if (fact.name === "MIGRATION" && ["failed", "cancelling"].includes(String(fact.data.status))) {
      failedSinceStop = "failed";
    }
  }
  end(window.toUnixUs, "end-of-record");
  return intervals;
}

/** Every place of the given instances, once, though several instances may have used it one after another. */
export function placesOf(instances: readonly InstanceNics[]): Place[] {
  const places = new Map<string, Place>();
  for (const { host, nics } of instances) {
    for (const { tap, mac } of nics) places.set(`${host} ${tap} ${mac}`, { host, tap, mac });
  }
  return [...places.values()];
}

/** Sorted, with touching and overlapping intervals joined. */
export function union(intervals: readonly Interval[]): Interval[] {
  const joined: { fromUnixUs: number; toUnixUs: number }[] = [];
  for (const { fromUnixUs, toUnixUs } of intervals.toSorted((a, b) => a.fromUnixUs - b.fromUnixUs)) {
    const last = joined.at(-1);
    if (last !== undefined && fromUnixUs <= last.toUnixUs) last.toUnixUs = Math.max(last.toUnixUs, toUnixUs);
    else joined.push({ fromUnixUs, toUnixUs });
  }
  return joined;
}

export function intersection(left: readonly Interval[], right: readonly Interval[]): Interval[] {
  return union(left).flatMap((a) =>
    union(right).flatMap((b) => {
      const fromUnixUs = Math.max(a.fromUnixUs, b.fromUnixUs);
      const toUnixUs = Math.min(a.toUnixUs, b.toUnixUs);
      return fromUnixUs < toUnixUs ? [{ fromUnixUs, toUnixUs }] : [];
    }),
  );
}

/** What of `window` no interval covers. */
export function complement(intervals: readonly Interval[], window: Interval): Interval[] {
  const gaps: Interval[] = [];
  let from = window.fromUnixUs;
  for (const covered of intersection(intervals, [window])) {
    if (covered.fromUnixUs > from) gaps.push({ fromUnixUs: from, toUnixUs: covered.fromUnixUs });
    from = covered.toUnixUs;
  }
  if (from < window.toUnixUs) gaps.push({ fromUnixUs: from, toUnixUs: window.toUnixUs });
  return gaps;
}

export function totalUs(intervals: readonly Interval[]): number {
  return union(intervals).reduce((sum, { fromUnixUs, toUnixUs }) => sum + toUnixUs - fromUnixUs, 0);
}
