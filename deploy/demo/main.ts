import { SwitchoverError } from "../../proto/error.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { renderTimeline } from "../../services/switchoverctl/timeline.ts";
import type { MigrationMode } from "../../test/lab/bare-migration.ts";
import { BareGuest, type Crossing } from "../../test/lab/bare-ping-pong.ts";
import type { ManagedGuest } from "../../test/lab/managed/managed-guest.ts";
import {
  BARE_ADDRESS,
  BARE_MAC,
  GUEST_ADDRESS,
  type ManagedLab,
  openManagedLab,
} from "../../test/lab/managed/managed-lab.ts";
import { type ProbeReport, Prober } from "../../test/lab/probe.ts";

/**
 * The demo: one real guest, migrated live and then back by post-copy, under probes of peers on both hosts; and, for
 * the contrast, the same live switch of a second guest that nobody manages and whose entry is added early.
 */
const HELP = `Usage: npm run demo

Needs Debian 12, Node 20 and root; installs what is missing. Takes about a minute, and removes all that it made.
`;
const WATCH_AFTER_MS = 3_000;

async function main(): Promise<void> {
  if (process.argv.includes("--help")) return say(HELP);
  say(
    "Building a lab: hosts ha and hb, a fabric, a control network, peers pa and pb, a coordinator, two agents ...",
  );
  const managed = await openManagedLab();
  try {
    say("Booting a guest on ha ...");
    const guest = await managed.bootGuest("ha");
    const probers = await managed.startProbers();
    say(`The guest answers at ${GUEST_ADDRESS}; pa and pb ping it every 5 ms.`);
    await show(guest, "live", "hb", probers);
    await show(guest, "post-copy", "ha", probers);
    await Promise.all(probers.map((prober) => prober.close()));
    await showEarlyEntry(managed);
  } finally {
    await managed.close();
  }
}

async function show(
  guest: ManagedGuest,
  mode: MigrationMode,
  to: string,
  probers: readonly Prober[],
): Promise<void> {
  heading(`${mode}, ${guest.current.host} -> ${to}`);
  const crossing = await guest.cross({ to, mode, probers, watchAfterMs: WATCH_AFTER_MS });
  say(renderTimeline(crossing.migration));
  say("");
  sayProbes(crossing.probes);
  say(`The guest is ${crossing.guest}; its MAC was on both hosts for ${crossing.figures.duplicateUs} us.`);
  const broken = crossing.verdicts.flatMap(({ invariant, violations }) =>
    violations.map((violation) => `${invariant}: ${violation}`),
  );
  for (const sentence of broken) say(sentence);
  if (crossing.migration.phase !== Phase.COMPLETED || crossing.guest !== "alive" || broken.length > 0) {
    throw new SwitchoverError("INTERNAL", "The migration did not go as it should.", {
      reason: "DEMO_FAILED",
    });
  }
}

async function showEarlyEntry(managed: ManagedLab): Promise<void> {
  heading("for the contrast: live, the destination's entry added when its QEMU is created");
  const { image, lab } = managed;
  const guest = await BareGuest.boot({ lab, image, mac: BARE_MAC, address: `${BARE_ADDRESS}/24` }, "ha");
  const probers = await Promise.all(
    lab.topology.peers.map((peer) => Prober.start({ peer, target: BARE_ADDRESS, targetMac: BARE_MAC })),
  );
  const crossing = await guest.cross({
    to: "hb",
    mode: "live",
    destinationEntry: "early",
    probers,
    watchAfterMs: WATCH_AFTER_MS,
  });
  sayProbes(crossing.probes);
  say(`The guest is ${crossing.guest}. ${earlyEntryStory(crossing)}`);
  await Promise.all(probers.map((prober) => prober.close()));
}

/** What the witness of the destination's bridge saw of the entry. */
function earlyEntryStory({ figures, migration, record }: Crossing): string {
  const atDestination = record.fdb.filter(({ host, state }) => host === "hb" && state === "static");
  const added = atDestination.find(({ change, dev }) => change === "set" && dev === "tap0");
  const last = atDestination.at(-1);
  if (added === undefined || last === undefined) return "The witness saw no entry at the destination.";
  const earlyMs = Math.round((migration.sourceStopAtUnixUs - added.atUnixUs) / 1000);
  const heldMs = Math.round(figures.earlyUs / 1000);
  const end =
    last.dev === "tap0" ? "it stayed there" : `it is on ${last.dev} now, and nothing brings it back`;
  return `Its entry was added at the destination ${earlyMs} ms before its CPUs stopped; it pointed to the waiting guest for ${heldMs} ms, until a frame of the running one came from the fabric; ${end}.`;
}

function sayProbes(reports: readonly ProbeReport[]): void {
  for (const { peer, sent, lost, longestGapMs } of reports) {
    const where = peer === "pa" ? "on host ha" : "on host hb";
    say(
      `peer ${peer} ${where}: lost ${lost} of ${sent} probes, longest silence ${longestGapMs.toFixed(1)} ms`,
    );
  }
}

function heading(text: string): void {
  say(`\n=== ${text} ===\n`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

try {
  await main();
} catch (thrown) {
  process.stderr.write(`${SwitchoverError.from(thrown).message}\n`);
  process.exitCode = 1;
}
