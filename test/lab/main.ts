import { parseArgs } from "node:util";
import { SwitchoverError } from "../../proto/error.ts";
import type { MigrationMode } from "./bare-migration.ts";
import { openManagedLab } from "./managed/managed-lab.ts";
import { type MigrationReport, reportOf } from "./managed/migration-report.ts";

const HELP = `Usage: npm run -s lab -- [--mode live|post-copy] [--count N] [--probe-interval-ms N] [--json]

Migrates one real guest to and fro between two hosts of a lab (network namespaces on this machine), through the
coordinator, with peers on both hosts probing it, and prints what independent witnesses saw: one line a migration.
Exits 1 if a migration did not complete, the guest died, or an invariant broke.

  npm run -s lab -- --mode live --count 20 --json
  npm run -s lab -- --mode post-copy
`;

interface Settings {
  readonly mode: MigrationMode;
  readonly count: number;
  readonly probeIntervalMs: number;
  readonly print: (report: MigrationReport) => void;
}

async function main(): Promise<number> {
  const settings = readSettings();
  if (settings === null) return 0;
  const managed = await openManagedLab();
  let failed = 0;
  try {
    const guest = await managed.bootGuest("ha");
    const probers = await managed.startProbers(settings.probeIntervalMs);
    for (let index = 0; index < settings.count; index++) {
      const from = guest.current.host;
      const to = from === "ha" ? "hb" : "ha";
      const report = reportOf(
        settings.mode,
        from,
        to,
        await guest.cross({ to, mode: settings.mode, probers }),
      );
      settings.print(report);
      if (report.phase !== "COMPLETED" || !report.guest_alive || report.violations.length > 0) failed += 1;
      if (report.phase !== "COMPLETED" || !report.guest_alive) break;
    }
  } finally {
    await managed.close();
  }
  return failed === 0 ? 0 : 1;
}

function readSettings(): Settings | null {
  const { values } = parseArgs({
    options: {
      mode: { type: "string", default: "live" },
      count: { type: "string", default: "1" },
      "probe-interval-ms": { type: "string", default: "5" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return null;
  }
  if (values.mode !== "live" && values.mode !== "post-copy") throw usage("--mode must be live or post-copy.");
  return {
    mode: values.mode,
    count: wholeNumber(values.count, "--count", 10_000),
    probeIntervalMs: wholeNumber(values["probe-interval-ms"], "--probe-interval-ms", 50),
    print: values.json ? printJson : printText,
  };
}

function wholeNumber(text: string, flag: string, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw usage(`${flag} must be a whole number from 1 to ${most}.`);
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
