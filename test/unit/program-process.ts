/** The programs as an operator runs them: processes with flags, whose words and ends a test can await. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";

export type ProgramName = "agent" | "coordinator" | "observer" | "switchoverctl";

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface LogLine {
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** Written here, not read from the environment of whoever runs the tests. Where nothing else is said, all is on this host. */
export const ENVIRONMENT = { PATH: process.env.PATH ?? "", SWITCHOVER_INSECURE_LOOPBACK: "true" };
/** Of a machine that does much else: a bound, not a promise. */
const START_MS = 60_000;

export function launch(
  t: TestContext,
  program: ProgramName,
  args: readonly string[],
  environment = ENVIRONMENT,
): ChildProcess {
  const path = fileURLToPath(new URL(`../../services/${program}/main.js`, import.meta.url));
  const child = spawn(process.execPath, [path, ...args], {
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    // Gently, for a coordinator ends its nats-server only then.
    child.kill("SIGTERM");
    const force = setTimeout(() => child.kill("SIGKILL"), 6_000);
    await once(child, "exit");
    clearTimeout(force);
  });
  return child;
}

export async function runToEnd(
  t: TestContext,
  program: ProgramName,
  args: readonly string[],
  environment = ENVIRONMENT,
): Promise<Ended> {
  const child = launch(t, program, args, environment);
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (part) => (stdout += String(part)));
  child.stderr?.on("data", (part) => (stderr += String(part)));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}

/** The line that says `sentence`, as soon as it is written; all lines so far where it never comes. */
export function logLine(child: ChildProcess, sentence: string): Promise<LogLine> {
  return new Promise((resolve, reject) => {
    const lines: string[] = [];
    const fail = (): void => reject(new Error(`"${sentence}" was not logged:\n${lines.join("\n")}`));
    const timer = setTimeout(fail, START_MS);
    child.once("exit", fail);
    if (child.stderr === null) return fail();
    createInterface({ input: child.stderr }).on("line", (text) => {
      lines.push(text);
      const line = JSON.parse(text) as LogLine;
      if (line.msg !== sentence) return;
      clearTimeout(timer);
      resolve(line);
    });
  });
}

/** Sends SIGTERM; the exit code, and that it took less than five seconds. */
export async function terminate(child: ChildProcess): Promise<number | null> {
  const startMs = performance.now();
  child.kill("SIGTERM");
  const [code] = (await once(child, "exit")) as [number | null];
  assert.ok(performance.now() - startMs < 5_000);
  return code;
}

export async function newFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "switchover-programs-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
