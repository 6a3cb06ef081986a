import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { SwitchoverError } from "../../../proto/error.ts";
import { type FaultCell, faultText } from "./fault-cell.ts";
import { FAULT_CELLS } from "./fault-cells.ts";
import { type Attempt, isRight } from "./fault-runner.ts";
import { faultsDocument } from "./faults-document.ts";
import { runSideBySide } from "./side-by-side.ts";

const DOCUMENT = "docs/faults.md";
const HELP = `Usage: npm run -s faults -- [--cell NAME]... [--runs N] [--labs N] [--json] [--list] [--write-docs] [--logs FOLDER]

Strikes one migration of a real guest a run: kills or stops a process, cuts a network, fills a disk, at a line of an
agent's gate that the cell names; then judges by independent witnesses who runs the guest, where it is registered, and
what the feed tells. Exits 1 if any run did not end as it must.

  --cell NAME    only the cells whose name contains NAME; may be given several times
  --runs N       runs of each cell, 1 to 100; default 1
  --labs N       labs that run side by side, 1 to 8, each with its own hosts, guests and programs; default 1
  --json         a JSON line a run
  --list         prints the cells and runs nothing
  --write-docs   writes ${DOCUMENT} from these runs; for all cells only
  --logs FOLDER  keeps logs and journals of runs that went wrong

  npm run -s faults -- --runs 10 --write-docs
  npm run -s faults -- --cell kill-source-agent-stopped --runs 5
`;

interface Wanted {
  readonly cells: readonly FaultCell[];
  readonly runs: number;
  readonly labs: number;
  readonly json: boolean;
  readonly writeDocs: boolean;
  readonly logsTo: string | undefined;
}

async function main(): Promise<number> {
  const wanted = readWanted();
  if (wanted === null) return 0;
  const attempts: Attempt[] = [];
  const runs = wanted.cells.flatMap((cell) => Array.from({ length: wanted.runs }, () => cell));
  const tell = (attempt: Attempt) => {
    attempts.push(attempt);
    process.stdout.write(wanted.json ? `${JSON.stringify(attempt)}\n` : attemptText(attempt));
  };
  await runSideBySide(runs, wanted.labs, wanted.logsTo, tell);
  if (wanted.writeDocs) {
    await mkdir(dirname(DOCUMENT), { recursive: true });
    await writeFile(DOCUMENT, faultsDocument(wanted.cells, attempts, wanted));
  }
  const wrong = attempts.filter((attempt) => !isRight(attempt));
  process.stdout.write(
    `${attempts.length} runs of ${wanted.cells.length} cells, ${wrong.length} went wrong\n`,
  );
  return wrong.length > 0 ? 1 : 0;
}

function readWanted(): Wanted | null {
  const { values } = parseArgs({
    options: {
      cell: { type: "string", multiple: true, default: [] },
      runs: { type: "string", default: "1" },
      labs: { type: "string", default: "1" },
      json: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      "write-docs": { type: "boolean", default: false },
      logs: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  const { cell: parts } = values;
  const cells = FAULT_CELLS.filter(
    ({ name }) => parts.length === 0 || parts.some((part) => name.includes(part)),
  );
  if (values.help || values.list) {
    process.stdout.write(values.help ? HELP : cells.map(cellText).join(""));
    return null;
  }
  if (cells.length === 0) throw usage(`No cell's name contains ${parts.join(" or ")}.`);
  const runs = wholeNumber("--runs", values.runs, 100);
  const labs = wholeNumber("--labs", values.labs, 8);
  if (values["write-docs"] && cells.length < FAULT_CELLS.length) throw usage("--write-docs needs all cells.");
  return { cells, runs, labs, json: values.json, writeDocs: values["write-docs"], logsTo: values.logs };
}

function wholeNumber(flag: string, text: string, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw usage(`${flag} must be a whole number from 1 to ${most}.`);
}

function usage(sentence: string): SwitchoverError {
  return new SwitchoverError("INVALID_ARGUMENT", `${sentence}\n\n${HELP}`, { reason: "USAGE" });
}

function cellText({ name, fault, hold }: FaultCell): string {
  return `${name.padEnd(58)} ${faultText(fault)}, ${hold.side} agent at "${hold.line}"\n`;
}

function attemptText(attempt: Attempt): string {
  if (attempt.kind === "broken") return `BROKEN ${attempt.cell}: ${attempt.sentence}\n`;
  const { cell, end, endedBy, faults, feed, guest, reasonCode, registered, silentMs, struckForMs } =
    attempt.run;
  const where = registered.length === 0 ? "nowhere" : registered.join(" and ");
  const silent = silentMs === null ? "for good" : `${Math.round(silentMs)} ms`;
  const text =
    `${isRight(attempt) ? "ok    " : "WRONG "} ${cell}: ${end.phase} ${end.outcome}` +
    `${reasonCode === "" ? "" : ` (${reasonCode})`}, runs ${end.runs} (${guest}), registered ${where}, feed ${feed}, ` +
    `silent ${silent}, ended by ${endedBy} after ${(struckForMs / 1000).toFixed(1)} s` +
    `${attempt.guestsDied === 0 ? "" : `, ${attempt.guestsDied} guests died before`}\n`;
  return text + faults.map((sentence) => `       ${sentence}\n`).join("");
}

try {
  process.exitCode = await main();
} catch (thrown) {
  const error = SwitchoverError.from(thrown);
  process.stderr.write(`${error.message}\n`);
  process.exitCode = error.reason === "USAGE" ? 2 : 1;
}
