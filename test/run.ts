import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { endProcessesOf, sweepDeadNamespaces, unmountUnder } from "./lab/sweep.ts";

/**
 * Runs the test suite, tier by tier, from the repository's root, and ends with one line of totals.
 *
 *   check       lint of sources and contract         nothing but the repository
 *   unit        pure code and in-process servers     nothing but Node and nats-server
 *   simulation  the real code in a simulated world   nothing but Node
 *   chaos       real processes that are killed       Node and nats-server
 *   browser     the observer's page in Chromium      Node, nats-server and Chromium
 *   kernel      network namespaces                   root, and QEMU for what this machine's kernel lacks
 *   qemu        real guests                          root, QEMU
 *   bench       what may not become slower           root, QEMU, nats-server
 *
 * A test whose resource is missing skips loudly; with CI=true it fails instead, and that is decided where the skip is.
 */
const TIERS = {
  check: { concurrency: 1, timeoutMs: 120_000 },
  unit: { concurrency: 2, timeoutMs: 120_000 },
  simulation: { concurrency: 1, timeoutMs: 900_000 },
  chaos: { concurrency: 1, timeoutMs: 400_000 },
  browser: { concurrency: 1, timeoutMs: 480_000 },
  kernel: { concurrency: 1, timeoutMs: 480_000 },
  qemu: { concurrency: 1, timeoutMs: 900_000 },
  bench: { concurrency: 1, timeoutMs: 700_000 },
} as const;
type Tier = keyof typeof TIERS;

interface Totals {
  passed: number;
  failed: number;
  skipped: number;
}

const HELP = `Usage: node dist/test/run.js [--tier TIER]... [FILE-PART]...

Runs the tests of the given tiers (default: all of ${Object.keys(TIERS).join(", ")}), or of those whose file name
contains one of the given parts.

  npm test
  npm run test:kernel
  npm run test:unit -- guest-source
`;

const ending = new AbortController();

/**
 * An interrupted run waits for its test files, which remove what they made. The runner's own handlers would end this
 * process at once; they are put in place by each `run`.
 */
function guardSignals(): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.removeAllListeners(signal);
    process.on(signal, () => ending.abort());
  }
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { tier: { type: "string", multiple: true }, help: { type: "boolean" } },
    allowPositionals: true,
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const wanted = values.tier ?? Object.keys(TIERS);
  const unknown = wanted.filter((tier) => !(tier in TIERS));
  if (unknown.length > 0) {
    process.stderr.write(`Unknown tier: ${unknown.join(", ")}\n${HELP}`);
    return 2;
  }
  const totals: Totals = { passed: 0, failed: 0, skipped: 0 };
  const directory = await mkdtemp(join(tmpdir(), "switchover-test-"));
  process.env.TMPDIR = directory;
  try {
    for (const tier of wanted as Tier[]) {
      if (ending.signal.aborted) break;
      process.stdout.write(`\n== ${tier} ==\n`);
      if (tier === "check") checkSources(totals, positionals);
      else await runTier(tier, positionals, totals);
    }
  } finally {
    await removeLeftovers(directory);
  }
  if (ending.signal.aborted) process.stdout.write("\nInterrupted.\n");
  process.stdout.write(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped\n`);
  return totals.failed > 0 || totals.passed === 0 || ending.signal.aborted ? 1 : 0;
}

/** What a test file makes is its own to remove; one that was interrupted or killed could not. */
async function removeLeftovers(directory: string): Promise<void> {
  // A test process that is still ending may start its nats-server once more: two quiet rounds in a row, at most 5 s.
  for (let round = 0, quiet = 0; round < 50 && quiet < 2; round++) {
    quiet = endProcessesOf(directory) === 0 ? quiet + 1 : 0;
    if (ending.signal.aborted || quiet === 0) await delay(100);
  }
  await sweepDeadNamespaces();
  unmountUnder(directory);
  await rm(directory, { recursive: true, force: true, maxRetries: 5 });
}

/** Each linter counts as one test; left out where single files are asked for. */
function checkSources(totals: Totals, fileParts: readonly string[]): void {
  if (fileParts.length > 0) return;
  for (const script of ["lint:contract", "lint:sources"]) {
    const { status } = spawnSync("npm", ["run", "-s", script], {
      stdio: "inherit",
      timeout: TIERS.check.timeoutMs,
    });
    process.stdout.write(`${status === 0 ? "✔" : "✖"} ${script}\n`);
    if (status === 0) totals.passed += 1;
    else totals.failed += 1;
  }
}

async function runTier(
  tier: Exclude<Tier, "check">,
  fileParts: readonly string[],
  totals: Totals,
): Promise<void> {
  // From the sources, since what was compiled before a test was removed may still lie about.
  const files = readdirSync(join("test", tier))
    .filter((name) => name.endsWith(".test.ts"))
    .filter((name) => fileParts.length === 0 || fileParts.some((part) => name.includes(part)))
    .sort()
    .map((name) => join("dist", "test", tier, name.replace(/\.ts$/, ".js")));
  if (files.length === 0) return;
  const { concurrency, timeoutMs } = TIERS[tier];
  const tests = run({ files, concurrency, timeout: timeoutMs, signal: ending.signal });
  guardSignals();
  tests.on("test:pass", (test) => {
    if (test.details.type === "suite") return;
    if (test.skip !== undefined || test.todo !== undefined) totals.skipped += 1;
    else totals.passed += 1;
  });
  tests.on("test:fail", (test) => {
    if (test.details.type !== "suite") totals.failed += 1;
  });
  for await (const text of tests.compose(new spec())) process.stdout.write(text as string);
}

process.exitCode = await main();
