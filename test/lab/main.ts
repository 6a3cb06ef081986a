import { parseArgs } from "node:util";
import { SwitchoverError } from "../../proto/error.ts";
import { CPU_PRIORITIES, type CpuPriority } from "../../services/agent/cpu-priority.ts";
import type { MigrationMode } from "./bare-migration.ts";
import { BareGuest } from "./bare-ping-pong.ts";
import { lastWordsOf } from "./guest-life.ts";
import {
  BARE_ADDRESS,
  BARE_MAC,
  GUEST_ADDRESS,
  GUEST_MAC,
  type ManagedLab,
  openManagedLab,
} from "./managed/managed-lab.ts";
import { bareReportOf, type MigrationReport, reportOf } from "./managed/migration-report.ts";
import { WIRING_NAMES, type WiringName } from "./managed/wiring.ts";
import { withProbers } from "./probe.ts";
import { judgeAgainstFloor, type ProbeCost } from "./probe-floor.ts";

const HELP = `Usage: npm run -s lab -- [--mode live|post-copy] [--nics KIND] [--count N] [--bare N] [--probe-interval-ms N]
                         [--cpu-priority high|realtime|normal] [--json]

Migrates one real guest to and fro between two hosts of a lab (network namespaces on this machine), through the
coordinator, with peers on both hosts probing it, and prints what independent witnesses saw: one line a migration.
Exits 1 if a migration did not complete, the guest died, or an invariant broke.

--bare N interleaves N migrations of a second guest that QEMU migrates alone, as the floor ("phase": "BARE"), with as many
NICs, on taps; then it also exits 1 if one of Switchover's migrations cost more probes beyond those that went out until QEMU
had loaded the guest than the worst of those and two, or if the median cost more than theirs and one. The coordinator then gets what time the hosts leave,
as if it were on a machine of its own: between STOP and RESUME nobody waits for it.

--cpu-priority is the agents' (default high); see the agent's help.

--nics is tap (default), macvtap-bridge, macvtap-passthrough or mixed (eight NICs of every kind); tap-8 and macvtap-bridge-8
are eight NICs of one kind.

  npm run -s lab -- --mode live --count 20 --bare 10 --json
  npm run -s lab -- --nics mixed --mode live --count 5
  npm run -s lab -- --mode post-copy
`;

interface Settings {
  readonly mode: MigrationMode;
  readonly nics: WiringName;
  readonly count: number;
  readonly bare: number;
  readonly probeIntervalMs: number;
  readonly cpuPriority: CpuPriority;
  readonly print: (report: MigrationReport) => void;
}

async function main(): Promise<number> {
  const settings = readSettings();
  if (settings === null) return 0;
  const managed = await openManagedLab({
    wiring: settings.nics,
    agentFlags: ["--cpu-priority", settings.cpuPriority],
    // Elsewhere it has a machine of its own; here it would take from the hosts what the floor does not pay.
    cluster: { natsServer: "own", coordinatorScheduling: settings.bare > 0 ? "idle" : "normal" },
  });
  try {
    return (await runMigrations(managed, settings)) ? 0 : 1;
  } finally {
    await managed.close();
  }
}

/** Whether all went as it should. */
async function runMigrations(managed: ManagedLab, settings: Settings): Promise<boolean> {
  const { mode, probeIntervalMs: intervalMs } = settings;
  const { image, lab } = managed;
  const { peers } = lab.topology;
  const probing = { target: GUEST_ADDRESS, targetMac: GUEST_MAC, intervalMs };
  const probingBare = { target: BARE_ADDRESS, targetMac: BARE_MAC, intervalMs };
  const guest = await managed.bootGuest("ha");
  const floor =
    settings.bare > 0
      ? await BareGuest.boot(
          { lab, image, mac: BARE_MAC, address: `${BARE_ADDRESS}/24`, nicCount: guest.current.nics.length },
          "ha",
        )
      : null;
  const costs: ProbeCost[] = [];
  const bareCosts: ProbeCost[] = [];
  let isGood = true;
  for (let index = 0; index < settings.count; index++) {
    const from = guest.current.host;
    const to = otherThan(from);
    const crossing = await withProbers(peers, probing, (probers) => guest.cross({ to, mode, probers }));
    const report = reportOf(mode, from, to, crossing);
    settings.print(report);
    costs.push(...costsOf(report, intervalMs));
    isGood &&= report.violations.length === 0;
    if (!report.guest_alive) process.stderr.write(await lastWordsOf(guest.current));
    if (report.phase !== "COMPLETED" || !report.guest_alive) return false;
    if (floor === null || index >= settings.bare) continue;
    const bareFrom = floor.current.host;
    const bareTo = otherThan(bareFrom);
    const bare = await withProbers(peers, probingBare, (probers) =>
      floor.cross({ to: bareTo, mode, probers }),
    );
    const bareReport = bareReportOf(mode, bareFrom, bareTo, bare);
    settings.print(bareReport);
    bareCosts.push(...costsOf(bareReport, intervalMs));
  }
  const sentences = floor === null ? [] : judgeAgainstFloor(costs, bareCosts);
  for (const sentence of sentences) process.stderr.write(`${sentence}\n`);
  return isGood && sentences.length === 0;
}

/** QEMU alone starts the guest as soon as it is loaded. */
function costsOf(report: MigrationReport, intervalMs: number): readonly ProbeCost[] {
  const { READY: readyUs } = report.timeline_us;
  const loadedAfterMs = (readyUs === undefined ? report.stop_to_resume_ms : readyUs / 1_000) ?? 0;
  const sentUntilLoaded = Math.round(loadedAfterMs / intervalMs);
  return report.probes.map(({ lost }) => ({ lost, sentUntilLoaded }));
}

function otherThan(host: string): string {
  return host === "ha" ? "hb" : "ha";
}

function readSettings(): Settings | null {
  const { values } = parseArgs({
    options: {
      mode: { type: "string", default: "live" },
      nics: { type: "string", default: "tap" },
      count: { type: "string", default: "1" },
      bare: { type: "string", default: "0" },
      "probe-interval-ms": { type: "string", default: "5" },
      "cpu-priority": { type: "string", default: "high" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return null;
  }
  if (values.mode !== "live" && values.mode !== "post-copy") throw usage("--mode must be live or post-copy.");
  const nics = WIRING_NAMES.find((name) => name === values.nics);
  if (nics === undefined) throw usage(`--nics must be one of ${WIRING_NAMES.join(", ")}.`);
  const cpuPriority = CPU_PRIORITIES.find((name) => name === values["cpu-priority"]);
  if (cpuPriority === undefined) throw usage(`--cpu-priority must be one of ${CPU_PRIORITIES.join(", ")}.`);
  return {
    mode: values.mode,
    nics,
    count: wholeNumber(values.count, "--count", 1, 10_000),
    bare: wholeNumber(values.bare, "--bare", 0, 10_000),
    cpuPriority,
    probeIntervalMs: wholeNumber(values["probe-interval-ms"], "--probe-interval-ms", 1, 50),
    print: values.json ? printJson : printText,
  };
}

function wholeNumber(text: string, flag: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw usage(`${flag} must be a whole number from ${least} to ${most}.`);
}

function usage(sentence: string): SwitchoverError {
  return new SwitchoverError("INVALID_ARGUMENT", `${sentence}\n\n${HELP}`, { reason: "USAGE" });
}

function printJson(report: MigrationReport): void {
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

function printText(report: MigrationReport): void {
  const lost = report.probes.map(({ peer, sent, lost }) => `${peer} lost ${lost} of ${sent}`).join(", ");
  process.stdout.write(
    `${report.mode} ${report.from} -> ${report.to}: ${report.phase}, guest ${report.guest_alive ? "alive" : "dead"}, ` +
      `STOP to RESUME ${report.stop_to_resume_ms ?? "?"} ms, deregistered ${report.stop_to_deregistered_us ?? "?"} us after STOP, ` +
      `cont ${report.ready_to_cont_us ?? "?"} us after ready, on both hosts ${report.duplicate_us} us; ${lost}\n`,
  );
  for (const violation of report.violations) process.stdout.write(`  ${violation}\n`);
}

try {
  process.exitCode = await main();
} catch (thrown) {
  const error = SwitchoverError.from(thrown);
  process.stderr.write(`${error.message}\n`);
  process.exitCode = error.reason === "USAGE" ? 2 : 1;
}
