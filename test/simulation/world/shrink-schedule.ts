import type { Fault, Schedule } from "./schedule.ts";

/** Attempts at most: each is a whole run. */
const ATTEMPTS = 150;

/** The simplest schedule found of which `fails` still holds, one change after another. */
export async function shrinkSchedule(
  failing: Schedule,
  fails: (schedule: Schedule) => Promise<boolean>,
): Promise<Schedule> {
  let simplest = failing;
  let attempts = 0;
  for (let progress = true; progress; ) {
    progress = false;
    for (const candidate of simplerThan(simplest)) {
      attempts += 1;
      if (attempts > ATTEMPTS) return simplest;
      if (!(await fails(candidate))) continue;
      simplest = candidate;
      progress = true;
      break;
    }
  }
  return simplest;
}

function* simplerWirings(schedule: Schedule): Iterable<Schedule> {
  const { wiring, ...plain } = schedule;
  if (wiring === undefined && schedule.nics > 1) yield { ...schedule, nics: 1 };
  if (wiring === undefined) return;
  yield { ...plain, nics: 1 };
  if (wiring.length === 1) return;
  for (const dropped of wiring.keys()) {
    yield { ...schedule, wiring: wiring.filter((_, index) => index !== dropped) };
  }
}

function* simplerThan(schedule: Schedule): Iterable<Schedule> {
  const { faults, migrations } = schedule;
  for (const dropped of faults) yield { ...schedule, faults: faults.filter((fault) => fault !== dropped) };
  if (migrations.length > 1) {
    yield { ...schedule, migrations: migrations.slice(0, -1) };
    yield {
      ...schedule,
      migrations: migrations.slice(1),
      faults: faults.map((fault) => ({
        ...fault,
        when: { ...fault.when, migration: Math.max(0, fault.when.migration - 1) },
      })),
    };
  }
  if (schedule.coordinators > 1) yield { ...schedule, coordinators: 1 };
  for (const [index, { plugs, ...migration }] of migrations.entries()) {
    if (plugs !== undefined) yield { ...schedule, migrations: migrations.with(index, migration) };
  }
  yield* simplerWirings(schedule);
  for (const [index, fault] of faults.entries()) {
    const replaced = (simpler: Fault): Schedule => ({ ...schedule, faults: faults.with(index, simpler) });
    if (fault.when.afterUs > 0) yield replaced({ ...fault, when: { ...fault.when, afterUs: 0 } });
    if ("times" in fault && fault.times > 1) yield replaced({ ...fault, times: fault.times - 1 });
    if ("forUs" in fault && fault.forUs > 1_000) {
      yield replaced({ ...fault, forUs: Math.round(fault.forUs / 4) });
    }
  }
}
