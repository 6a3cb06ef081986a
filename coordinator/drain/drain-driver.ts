import { SwitchoverError } from "../../proto/error.ts";
import {
  type Drain,
  type DrainedGuest,
  DrainPhase,
  type DrainRecord,
} from "../../proto/gen/switchover/v1/drain.ts";
import type { HostId } from "../../proto/ids.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import type { MigrationApi } from "../migration-api.ts";
import { pause } from "../runner/pause.ts";
import { commitDrain, isDrainOpen } from "./drain-record.ts";
import { migrationSpecOf } from "./drain-request.ts";
import type { DrainStore, StoredDrain } from "./drain-store.ts";
import {
  guestsOnTheirWay,
  guestsToAskFor,
  guestsToTry,
  type Hindrance,
  requestIdOf,
  withEnd,
  withFound,
  withMigrationHeard,
  withMigrationId,
  withMigrationUnheard,
  withStartForgotten,
  withStartRefused,
  withTrials,
} from "./drained-guests.ts";
import type { DrainingHosts } from "./draining-hosts.ts";
import { type DrainedHostPort, inTurns, type PassingGuest, surveyDrain, tryGuest } from "./survey-drain.ts";

export interface DrainPorts {
  readonly store: DrainStore;
  readonly hosts: DrainedHostPort;
  readonly migrations: Pick<MigrationApi, "startMigration" | "getMigration" | "cancelMigration">;
  /** Told of every drain that is heard of. */
  readonly draining: DrainingHosts;
  readonly clock: Clock;
  readonly log: Log;
}

/** Between two rounds of a drain; a record that stands still for many of them has no driver. */
const ROUND_EVERY_MS = 1_000;
/** A round begins no further trial after this, so that it is over long before another coordinator takes the drain over. */
const TRY_FOR_MS = 3_000;

/** Answers after which it is not known whether the migration was made: it is asked for again. */
const UNSURE: ReadonlySet<string> = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"]);

/**
 * Drives one drain in rounds: asks who lives where, hears of the migrations under way, and begins others. What is to be
 * asked of a migration is committed before it is asked, so a round that is cut off is done again, by anybody, and changes
 * nothing twice. Resolves once the drain has ended, another coordinator drives it, or with the signal.
 */
export async function driveDrain(
  ports: DrainPorts,
  hostId: HostId,
  driver: string,
  signal: AbortSignal,
): Promise<void> {
  for (let taken: "yes" | "no" = "no"; !signal.aborted; await pause(ports.clock, ROUND_EVERY_MS, signal)) {
    try {
      let stands = await ports.store.get(hostId);
      if (stands?.record.drain === undefined || !isDrainOpen(stands.record.drain)) return;
      if (stands.record.driver !== driver) {
        if (taken === "yes") return;
        stands = await ports.store.write(commitDrain(stands.record, { driver }), stands.revision);
      }
      taken = "yes";
      await playRound(ports, stands, signal);
    } catch (thrown) {
      const { message, code, reason } = SwitchoverError.from(thrown);
      const fields = { host_id: hostId, code, reason };
      // A caller's cancel, or another driver: what stands then is read again.
      if (code === "ABORTED") ports.log.debug(fields, `A round of a drain was overtaken: ${message}`);
      else ports.log.warn(fields, `A round of a drain was cut off: ${message}`);
    }
  }
}

async function playRound(ports: DrainPorts, stored: StoredDrain, signal: AbortSignal): Promise<void> {
  const { clock, store } = ports;
  const { record } = stored;
  const before = record.drain;
  if (before === undefined) return;
  const survey = await surveyDrain(ports.hosts, before, signal);
  let drain = withCancelAsked(before, record);
  if (survey.living !== null) drain = withFound(drain, survey.living);
  drain = await withMigrations(ports, drain, record);
  const passing = await findPassing(ports, drain, survey.passing);
  const wanted = guestsToTry(drain, survey.preparedAt, BigInt(clock.unixUs()));
  const tryUntilUnixUs = clock.unixUs() + TRY_FOR_MS * 1_000;
  const trials = await inTurns(wanted, async (guest) =>
    clock.unixUs() < tryUntilUnixUs ? [await tryGuest(ports, drain, guest, signal)] : [],
  );
  const nowUnixUs = BigInt(clock.unixUs());
  drain = withTrials(drain, trials.flat(), survey.preparedAt, nowUnixUs);
  const hindrance = survey.hindrance ?? passing;
  drain = withEnd(drain, hindrance === null ? "all" : "not all", nowUnixUs);
  const { reasonCode, reason } = hindrance ?? { reasonCode: "", reason: "" };
  drain = { ...drain, reasonCode, reason };
  if (signal.aborted) return;
  // Also where nothing is new: it is the driver's sign of life.
  const committed = await store.write(commitDrain(record, { drain }), stored.revision);
  if (isDrainOpen(drain)) await askForMigrations(ports, committed, drain);
}

function withCancelAsked(drain: Drain, { cancelAsked }: DrainRecord): Drain {
  return cancelAsked ? { ...drain, phase: DrainPhase.CANCELLING } : drain;
}

type Change = (drain: Drain) => Drain;

async function withMigrations(ports: DrainPorts, drain: Drain, record: DrainRecord): Promise<Drain> {
  const changes = await inTurns(guestsOnTheirWay(drain), (guest) => hearOfMigration(ports, record, guest));
  return changes.reduce((known, change) => change(known), drain);
}

async function hearOfMigration(
  { clock, migrations }: DrainPorts,
  { cancelMigrations }: DrainRecord,
  { guestId, migrationId }: DrainedGuest,
): Promise<Change> {
  try {
    if (cancelMigrations) await cancel(migrations, migrationId);
    const migration = await find(migrations, migrationId);
    return (known) => withMigrationHeard(known, guestId, migration, BigInt(clock.unixUs()));
  } catch (thrown) {
    return unheard(guestId, SwitchoverError.from(thrown), clock);
  }
}

/** A record that cannot be read costs its own guest only; where the store does not answer, the round is cut off. */
function unheard(guestId: string, error: SwitchoverError, clock: Clock): Change {
  if (error.code !== "INTERNAL") throw error;
  return (known) => withMigrationUnheard(known, guestId, error, BigInt(clock.unixUs()));
}

/**
 * A guest that a migration of somebody else brings, or has not quite taken away; null where there is none. The host is
 * needed for it: to switch it off in post-copy would lose the guest.
 */
async function findPassing(
  { migrations }: DrainPorts,
  { guests }: Drain,
  passing: readonly PassingGuest[],
): Promise<Hindrance | null> {
  const own = new Set(guests.map(({ migrationId }) => migrationId));
  const others = passing.filter(({ migrationId }) => !own.has(migrationId));
  const heard = await inTurns(others, (guest) => findOnItsWay(migrations, guest));
  return heard.find((hindrance) => hindrance !== null) ?? null;
}

async function findOnItsWay(
  migrations: DrainPorts["migrations"],
  { guestId, migrationId }: PassingGuest,
): Promise<Hindrance | null> {
  try {
    const migration = await find(migrations, migrationId);
    if (migration === null || isTerminal(migration.phase)) return null;
    return { reasonCode: "GUEST_ON_ITS_WAY", reason: `Guest ${guestId} is on its way by ${migrationId}.` };
  } catch (thrown) {
    const { code, message, reason: reasonCode } = SwitchoverError.from(thrown);
    if (code !== "INTERNAL") throw thrown;
    return { reasonCode, reason: `Guest ${guestId} may be on its way by ${migrationId}: ${message}` };
  }
}

async function find(migrations: DrainPorts["migrations"], migrationId: string) {
  try {
    return (await migrations.getMigration({ migrationId })).migration ?? null;
  } catch (thrown) {
    if (SwitchoverError.from(thrown).code === "NOT_FOUND") return null;
    throw thrown;
  }
}

/** It may be too late for some, which then come to their end. */
async function cancel(migrations: DrainPorts["migrations"], migrationId: string): Promise<void> {
  try {
    await migrations.cancelMigration({ migrationId });
  } catch (thrown) {
    const { code } = SwitchoverError.from(thrown);
    if (code !== "FAILED_PRECONDITION" && code !== "NOT_FOUND") throw thrown;
  }
}

async function askForMigrations(ports: DrainPorts, stored: StoredDrain, drain: Drain): Promise<void> {
  const guests = guestsToAskFor(drain);
  if (guests.length === 0) return;
  const changes = await inTurns(guests, (guest) => askForMigration(ports, drain, guest));
  const asked = changes.reduce((known, change) => change(known), drain);
  await ports.store.write(commitDrain(stored.record, { drain: asked }), stored.revision);
}

async function askForMigration(
  { migrations, clock }: DrainPorts,
  drain: Drain,
  guest: DrainedGuest,
): Promise<Change> {
  const { guestId, destinationHostId } = guest;
  // A cancelled drain begins none, but wants to know of one that was begun.
  const validateOnly = drain.phase === DrainPhase.CANCELLING;
  const requestId = requestIdOf(drain, guest);
  try {
    if (drain.spec === undefined) return (known) => known;
    const spec = migrationSpecOf(drain.spec, drain.drainId, guestId, destinationHostId);
    const { migration } = await migrations.startMigration(
      { requestId, spec, validateOnly },
      { requestedBy: { peer: "", userAgent: "", identity: "", drainId: drain.drainId } },
    );
    if (migration === undefined) return (known) => withStartForgotten(known, guestId);
    return (known) => withMigrationId(known, guestId, migration.migrationId);
  } catch (thrown) {
    const error = SwitchoverError.from(thrown);
    if (UNSURE.has(error.code)) return (known) => known;
    if (error.code === "INTERNAL") return unheard(guestId, error, clock);
    return (known) => withStartRefused(known, guestId, error, BigInt(clock.unixUs()));
  }
}
