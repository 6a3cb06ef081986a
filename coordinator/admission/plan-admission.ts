import type { GuestId } from "../../proto/ids.ts";
import type { AdmissionLimits } from "./admission-limits.ts";
import type { Occupancy, Route } from "./slot-table.ts";

/** A migration in PENDING. */
export interface WaitingMigration extends Route {
  readonly guestId: GuestId;
  readonly migrationId: string;
  /** Higher goes first. */
  readonly priority: number;
  readonly requestedAtUnixUs: bigint;
}

/** The order in which migrations are admitted: priority, then request; the same everywhere. */
export function byTurn(left: WaitingMigration, right: WaitingMigration): number {
  if (left.priority !== right.priority) return right.priority - left.priority;
  if (left.requestedAtUnixUs !== right.requestedAtUnixUs)
    return left.requestedAtUnixUs < right.requestedAtUnixUs ? -1 : 1;
  return left.migrationId < right.migrationId ? -1 : 1;
}

/**
 * What a migration waits for; "drain": the end of its destination's evacuation; "turn": there is room, which others
 * before it are to take.
 */
export interface Standing {
  readonly waitsFor: "drain" | "source" | "destination" | "all" | "turn";
  /** From 1, among those that wait for the same. */
  readonly position: number;
}

export interface AdmissionPlan {
  readonly admitted: readonly WaitingMigration[];
  readonly waiting: ReadonlyMap<GuestId, Standing>;
}

/**
 * Who is next. In their order, each is admitted that its source, its destination and the whole have room for. One that
 * waits keeps back nobody who needs other hosts; but the first that waits for a full host has its place kept at its other
 * end, so that it is not passed by for ever by those that need only that. One whose destination is being evacuated keeps
 * back nobody at all.
 */
export function planAdmission(
  inOrder: readonly WaitingMigration[],
  occupancyOf: (route: Route) => Occupancy,
  limits: AdmissionLimits,
  isDraining: (hostId: string) => boolean = () => false,
): AdmissionPlan {
  const admitted: WaitingMigration[] = [];
  const waiting = new Map<GuestId, Standing>();
  const kept = new Tally();
  const queues = new Tally();
  for (const migration of inOrder) {
    if (isDraining(migration.destinationHostId)) {
      const position = queues.add(`drain ${migration.destinationHostId}`);
      waiting.set(migration.guestId, { waitsFor: "drain", position });
      continue;
    }
    const taken = occupancyOf(migration);
    const source = `source ${migration.sourceHostId}`;
    const destination = `destination ${migration.destinationHostId}`;
    const isSourceFull = taken.ofSource + kept.of(source) >= limits.perSource;
    const isDestinationFull = taken.ofDestination + kept.of(destination) >= limits.perDestination;
    const isAllFull = taken.inAll + admitted.length >= limits.inAll;
    if (!isSourceFull && !isDestinationFull && !isAllFull) {
      admitted.push(migration);
      kept.add(source);
      kept.add(destination);
      continue;
    }
    const queue = isSourceFull ? source : isDestinationFull ? destination : "all";
    const position = queues.add(queue);
    if (position === 1 && isSourceFull && !isDestinationFull) kept.add(destination);
    if (position === 1 && isDestinationFull && !isSourceFull) kept.add(source);
    waiting.set(migration.guestId, { waitsFor: fullFor(taken, limits) ?? "turn", position });
  }
  return { admitted, waiting };
}

/** The first that is full of what a migration needs; null where there is room. */
export function fullFor(taken: Occupancy, limits: AdmissionLimits): "source" | "destination" | "all" | null {
  if (taken.ofSource >= limits.perSource) return "source";
  if (taken.ofDestination >= limits.perDestination) return "destination";
  return taken.inAll >= limits.inAll ? "all" : null;
}

/** Whether two that wait for the same kind of thing wait for the same one. */
export function competes(left: Route, right: Route, waitsFor: Standing["waitsFor"]): boolean {
  const sharesSource = left.sourceHostId === right.sourceHostId;
  const sharesDestination = left.destinationHostId === right.destinationHostId;
  switch (waitsFor) {
    case "source":
      return sharesSource;
    case "drain":
    case "destination":
      return sharesDestination;
    case "all":
      return true;
    case "turn":
      return sharesSource || sharesDestination;
  }
}

class Tally {
  readonly #counts = new Map<string, number>();

  of(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  add(key: string): number {
    const count = this.of(key) + 1;
    this.#counts.set(key, count);
    return count;
  }
}
