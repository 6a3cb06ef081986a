import type { Random } from "../engine/random.ts";
import {
  type Fault,
  MARKS,
  NIC_KINDS,
  type NicKind,
  type PlannedMigration,
  type Schedule,
  type Side,
  type When,
} from "./schedule.ts";

/** The part of the schedules whose guest has NICs of other kinds than taps on a managed bridge, or of several. */
const WIRED = 0.25;

/** The part whose guest's NICs are plugged, before a migration and within it. */
const PLUGGED = 0.05;
/** A parent in passthrough is one NIC's, which the guest may have. */
const PLUGGABLE = NIC_KINDS.filter((kind) => kind !== "passthrough");

interface Plugging {
  readonly migrations: readonly PlannedMigration[];
  readonly plugged: readonly Fault[];
}

/** What a guest's NICs are, and what somebody does to them. */
export function planWiring(
  random: Random,
  migrations: number,
): Pick<Schedule, "wiring"> & { readonly undone: readonly Fault[] } {
  if (!random.chance(WIRED)) return { undone: [] };
  const wiring = planNics(random);
  return { wiring, undone: random.chance(0.3) ? [planUndoing(random, wiring, migrations)] : [] };
}

/** Up to four; a parent in passthrough is one NIC's. */
function planNics(random: Random): NicKind[] {
  const wiring: NicKind[] = [];
  for (let left = random.pick(1, 1, 1, 2, 2, 3, 4); left > 0; left -= 1) {
    const kind = random.pick(...NIC_KINDS);
    wiring.push(kind === "passthrough" && wiring.includes(kind) ? "macvtap" : kind);
  }
  return wiring;
}

/** While the guest lives: before a migration, or at a moment of it at one side alone. */
export function planPlugging(random: Random, migrations: readonly PlannedMigration[]): Plugging {
  const plugs = () => random.pick<"out" | NicKind>("out", ...PLUGGABLE);
  const planned = migrations.map((migration) =>
    random.chance(PLUGGED) ? { ...migration, plugs: plugs() } : migration,
  );
  const count = random.chance(PLUGGED) ? random.pick(1, 1, 2) : 0;
  const plugged = Array.from({ length: count }, (): Fault => {
    const when = planMoment(random, migrations.length);
    const side = random.pick<Side>("source", "destination");
    const nic = plugs();
    return nic === "out" ? { when, kind: "nicUnplugged", side } : { when, kind: "nicPlugged", side, nic };
  });
  return { migrations: planned, plugged };
}

function planMoment(random: Random, migrations: number): When {
  return {
    migration: random.below(migrations),
    mark: random.pick(...MARKS),
    afterUs: random.chance(0.3) ? 0 : random.spread(20, 100_000),
  };
}

function planUndoing(random: Random, wiring: readonly NicKind[], migrations: number): Fault {
  const when = planMoment(random, migrations);
  const side = random.pick<Side>("source", "destination");
  const kinds = ["entryFlushed", "entryTaken"] as const;
  const kind = wiring.includes("routedTap")
    ? random.pick(...kinds, "routesRemoved" as const)
    : random.pick(...kinds);
  return { when, kind, side };
}
