import { readFile } from "node:fs/promises";
import type { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import { type Migration, outcomeToJSON, Phase } from "../../../proto/gen/switchover/v1/migration.ts";
import type { MigrationMode } from "../bare-migration.ts";
import { pollUntil, withDeadline } from "../deadline.ts";
import type { GuestQemu } from "../guest.ts";
import { phaseName } from "../managed/feed-observer.ts";
import { type LabTransfer, labMigration } from "../managed/guest-instance.ts";
import { GUEST_TAP } from "../managed/managed-lab.ts";
import { unixMicros } from "../realtime-clock.ts";
import { readDiskWitness } from "../witness/disk-witness.ts";
import { FdbWitness, parseFdbShow } from "../witness/fdb-witness.ts";
import type { Absence, WitnessedRun } from "../witness/invariants.ts";
import { QmpWitness } from "../witness/qmp-witness.ts";
import { type CellRun, type GuestLife, judgeCell } from "./cell-judgement.ts";
import type { CellEnd, CellSide, FaultCell } from "./fault-cell.ts";
import { type FaultLab, required } from "./fault-lab.ts";
import { inflict, mendInTime, type Sides } from "./inflict.ts";

const LINE_TIMEOUT_MS = 20_000;
const END_TIMEOUT_MS = 45_000;
const FEED_TIMEOUT_MS = 5_000;
const LIFE_TIMEOUT_MS = 5_000;
/** Beats after the end that prove life, and for how long a lost guest is listened to. */
const LIFE_BEATS = 3;
const SILENCE_MS = 500;
/** How long before the strike silence counts. */
const BEFORE_STRIKE_US = 200_000;
/** Quick, and slow enough that the strike finds pages on their way; megabytes a second. */
const TRANSFER: Readonly<Record<MigrationMode, Omit<LabTransfer, "mode">>> = {
  live: { maxBandwidth: 60 << 20, postCopyAfterMs: 0 },
  "post-copy": { maxBandwidth: 40 << 20, postCopyAfterMs: 1000, maxPostCopyBandwidth: 4 << 20 },
};

/** A guest kernel's last words. */
const PANIC = /Kernel panic|\bBUG:|\bOops:/;

let requests = 0;

/**
 * Migrates the lab's guest, strikes at the cell's line, mends, and returns what came of it and what is wrong with it.
 * Throws where the run could not be brought to its end: the lab is of no use then.
 */
export async function runCell(lab: FaultLab, cell: FaultCell): Promise<CellRun> {
  const { cluster, controlPlane, guest } = lab;
  const { topology } = lab.lab;
  const source = guest.current ?? (await guest.boot("ha"));
  const hosts = topology.hosts;
  const destinationHost = hosts.find(({ name }) => name !== source.host)?.name ?? "";
  await topology.flushDynamicEntries();
  const fdbWitnesses = await Promise.all(hosts.map((host) => FdbWitness.start(host, [guest.identity.mac])));
  const sourceWitness = await QmpWitness.start(source);
  const fromUnixUs = unixMicros();
  const destination = await guest.prepareDestination(destinationHost);
  const destinationWitness = await QmpWitness.start(destination);
  const sides: Sides = { source, destination };
  const witnesses = { source: sourceWitness, destination: destinationWitness };

  const heldHost = sides[cell.hold.side].host;
  const hold = required(lab.holds, heldHost);
  const { reached } = await hold.hold(cluster.agentProcess(heldHost), cell.hold.line);
  requests += 1;
  const { migrationId } = await controlPlane.startMigration(
    `fault-${process.pid}-${requests}`,
    labMigration(guest.identity.guestId, source, destination, { mode: cell.mode, ...TRANSFER[cell.mode] }),
  );
  const reachedAtUnixUs = await withDeadline(reached, LINE_TIMEOUT_MS, `The line ${cell.hold.line}`);
  const strikeUnixUs = unixMicros();
  const fault = await inflict(lab, cell.fault, sides);
  hold.release();
  const held: Absence = { host: heldHost, fromUnixUs: reachedAtUnixUs, toUnixUs: unixMicros() };

  const isOperators = fault.mendAfterMs === undefined;
  if (isOperators) await resolve(lab, cell, sides, migrationId);
  else await mendInTime(fault);
  const migration = await controlPlane.reached(migrationId, hasEnded, END_TIMEOUT_MS);
  const endedUnixUs = unixMicros();
  if (isOperators) await fault.mend();

  const beats = await whereItBeats(sides, migration);
  const feed = await wholeFeed(lab, migration);
  const toUnixUs = unixMicros();
  const probes = await Promise.all(
    lab.probers.map((prober) => prober.report(strikeUnixUs - BEFORE_STRIKE_US, toUnixUs)),
  );
  const { life, runs } = await whereItRuns(beats, sides, witnesses, migration);
  const registered = await whereItIsRegistered(lab, sides);
  const record: WitnessedRun = {
    instances: [source, destination],
    fdb: (await Promise.all(fdbWitnesses.map((witness) => witness.close()))).flat(),
    qmp: Object.values(witnesses).flatMap((witness) => witness.records()),
    disk: await readDiskWitness(guest.diskPath),
    window: { fromUnixUs, toUnixUs: unixMicros() },
    absences: [held, ...fault.absences()],
  };
  for (const witness of Object.values(witnesses)) witness.close();
  const kept = life === "alive" && runs !== "nowhere" ? sides[runs] : undefined;
  await guest.settleIn(
    kept,
    [source, destination].filter((qemu) => qemu !== kept),
    cell.fault.kind === "host-death" ? sides[cell.fault.side].host : undefined,
  );
  return judgeCell({
    ...{ cell, sides, migration, record, feed, registered },
    end: { phase: phaseName(migration.phase), outcome: outcomeName(migration), runs } as CellEnd,
    guest: life,
    silentMs: Math.max(...probes.map(({ longestGapMs }) => longestGapMs)),
    struckForMs: (endedUnixUs - strikeUnixUs) / 1000,
    endedBy: isOperators ? "operator" : "itself",
    leftovers: kept === undefined ? [] : await leftovers(lab, kept),
  });
}

/** What only a person can say, once the migration waits for it. */
async function resolve(lab: FaultLab, cell: FaultCell, sides: Sides, migrationId: string): Promise<void> {
  if (cell.fault.kind !== "host-death") return;
  const waits = (migration: Migration) => migration.phase === Phase.AMBIGUOUS || hasEnded(migration);
  const { phase } = await lab.controlPlane.reached(migrationId, waits, END_TIMEOUT_MS);
  if (phase === Phase.AMBIGUOUS) {
    await lab.controlPlane.declareDead(migrationId, sides[cell.fault.side].host);
  }
}

function hasEnded({ phase }: Migration): boolean {
  return phase === Phase.COMPLETED || phase === Phase.FAILED || phase === Phase.CANCELLED;
}

function outcomeName({ outcome }: Migration): string {
  return outcomeToJSON(outcome).replace(/^OUTCOME_/, "");
}

/** By the guest's own beats, whatever anybody says. */
async function whereItBeats(sides: Sides, { outcome }: Migration): Promise<CellSide | "nowhere"> {
  const last = Math.max(...Object.values(sides).map((qemu) => qemu.lastHeartbeat()?.seq ?? 0));
  const isLost = outcomeToJSON(outcome) === "OUTCOME_GUEST_LOST";
  const heard = async (side: CellSide): Promise<CellSide> => {
    const qemu: GuestQemu = sides[side];
    await qemu.waitForHeartbeatAfter(last + LIFE_BEATS, isLost ? SILENCE_MS : LIFE_TIMEOUT_MS);
    return side;
  };
  return Promise.any([heard("source"), heard("destination")]).catch(() => "nowhere" as const);
}

/** Where the guest is, and how it fares. */
async function whereItRuns(
  beats: CellSide | "nowhere",
  sides: Sides,
  witnesses: Readonly<Record<CellSide, QmpWitness>>,
  migration: Migration,
): Promise<{ readonly life: GuestLife; readonly runs: CellSide | "nowhere" }> {
  if (beats !== "nowhere") return { life: "alive", runs: beats };
  const panicked = await Promise.all(
    Object.values(sides).map(async ({ serialLogPath }) =>
      PANIC.test(await readFile(serialLogPath, "latin1")),
    ),
  );
  const outcome = outcomeName(migration);
  const side = (["source", "destination"] as const).find((one) => outcome.endsWith(one.toUpperCase()));
  const runs = side !== undefined && (await witnesses[side].cpusNow()) === "running" ? side : "nowhere";
  return { life: panicked.includes(true) || runs !== "nowhere" ? "died" : "lost", runs };
}

/** What the stream keeps, once the last phase is in it. */
async function wholeFeed(lab: FaultLab, { migrationId, phase }: Migration): Promise<readonly FeedEvent[]> {
  const isLast = ({ event }: FeedEvent) => event?.$case === "phaseChanged" && event.value.to === phase;
  const ask = async () => {
    const events = await lab.observer.stored(migrationId).catch(() => []);
    return events.some(isLast) ? events : undefined;
  };
  return pollUntil(ask, FEED_TIMEOUT_MS, `${phaseName(phase)} of ${migrationId} in the feed`, 50).catch(() =>
    lab.observer.stored(migrationId),
  );
}

async function whereItIsRegistered(lab: FaultLab, sides: Sides): Promise<readonly CellSide[]> {
  const hosts = await hostsWithEntry(lab);
  return (["source", "destination"] as const).filter((side) => hosts.includes(sides[side].host));
}

async function hostsWithEntry(lab: FaultLab): Promise<readonly string[]> {
  const { mac } = lab.guest.identity;
  const found = await Promise.all(
    lab.lab.topology.hosts.map(async ({ name, namespace, bridge }) => {
      const shown = await namespace.run("bridge", ["-j", "fdb", "show", "br", bridge]);
      const entries = parseFdbShow(shown, name, 0);
      const isOurs = entries.some(
        (entry) => entry.mac === mac && entry.dev === GUEST_TAP && entry.state === "static",
      );
      return isOurs ? [name] : [];
    }),
  );
  return found.flat();
}

/** Sentences about what the migration left on hosts that the guest is not on. */
async function leftovers(lab: FaultLab, kept: GuestQemu): Promise<readonly string[]> {
  const others = lab.lab.topology.hosts.filter(({ name }) => name !== kept.host);
  const found = await Promise.all(
    others.map(async ({ name, namespace }) => {
      const links = await namespace.run("ip", ["-o", "link", "show"]);
      return links.includes(` ${GUEST_TAP}:`) ? [`The tap ${GUEST_TAP} was left on ${name}.`] : [];
    }),
  );
  return found.flat();
}
