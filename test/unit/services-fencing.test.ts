import assert from "node:assert/strict";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import type { HostId, MigrationId } from "../../proto/ids.ts";
import { FencingCommand } from "../../services/coordinator/fencing-command.ts";
import type { Log } from "../../services/log/log.ts";

const HOST = "ha" as HostId;
const MIGRATION = "web-7-mk3v0q8ya1z9" as MigrationId;

interface Fixture {
  readonly fencing: FencingCommand;
  readonly folder: string;
  readonly lines: { readonly fields: Readonly<Record<string, unknown>>; readonly sentence: string }[];
}

async function withCommand(t: TestContext, body: string, timeoutMs = 10_000): Promise<Fixture> {
  const folder = await mkdtemp(join(tmpdir(), "switchover-fencing-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "fence");
  await writeFile(path, `#!/bin/sh\ncd ${folder}\n${body}\n`);
  await chmod(path, 0o755);
  const lines: Fixture["lines"] = [];
  const keep = (fields: Record<string, unknown>, sentence: string) => lines.push({ fields, sentence });
  const log = { debug: keep, info: keep, warn: keep, error: keep } as unknown as Log;
  const environment = { PATH: process.env.PATH };
  const fencing = new FencingCommand({ path, timeoutMs, environment, log });
  t.after(() => fencing.close());
  return { fencing, folder, lines };
}

function failing(reason: string, words: RegExp) {
  return (thrown: unknown) => {
    assert.ok(thrown instanceof SwitchoverError);
    assert.equal(thrown.reason, reason);
    assert.match(thrown.message, words);
    return true;
  };
}

describe("the fencing command", () => {
  it("is given the host as its only argument and the migration by its environment", async (t) => {
    const { fencing, folder } = await withCommand(t, 'echo "$# $1 $SWITCHOVER_MIGRATION_ID" > told');
    await fencing.fence(HOST, MIGRATION);
    assert.equal(await readFile(join(folder, "told"), "utf8"), `1 ha ${MIGRATION}\n`);
  });

  it("runs once at a time for a host, and its end is the end for all who asked", async (t) => {
    const body = "echo run >> runs; while [ ! -e go ]; do sleep 0.02; done";
    const { fencing, folder } = await withCommand(t, body);
    const both = [fencing.fence(HOST, MIGRATION), fencing.fence(HOST, MIGRATION)];
    await writeFile(join(folder, "go"), "");
    await Promise.all(both);
    assert.equal(await readFile(join(folder, "runs"), "utf8"), "run\n");
    await fencing.fence(HOST, MIGRATION);
    assert.equal(await readFile(join(folder, "runs"), "utf8"), "run\nrun\n");
  });

  it("that ends with another code says nothing about the host", async (t) => {
    const { fencing, lines } = await withCommand(t, "echo no power >&2; exit 3");
    await assert.rejects(fencing.fence(HOST, MIGRATION), failing("FENCE_COMMAND_FAILED", /ended with 3/));
    assert.equal(lines.at(-1)?.fields.stderr, "no power");
  });

  it("that takes too long is killed with all that it started", { timeout: 10_000 }, async (t) => {
    const { fencing, folder } = await withCommand(t, "sleep 300 & echo $! > child; wait", 300);
    await assert.rejects(fencing.fence(HOST, MIGRATION), failing("FENCE_COMMAND_FAILED", /within 300 ms/));
    const pid = Number(await readFile(join(folder, "child"), "utf8"));
    const stateOf = () => readFile(`/proc/${pid}/stat`, "utf8").catch(() => "gone");
    // Killed and not yet reaped by whoever adopts orphans here, or gone. What was sent SIGKILL may run on a little.
    while (!/^gone$|\) Z /.test(await stateOf())) await new Promise((resolve) => setTimeout(resolve, 10));
  });

  it("that writes without end fills neither a pipe nor the log", async (t) => {
    const { fencing, lines } = await withCommand(t, "head -c 1000000 /dev/zero | tr '\\0' x");
    await fencing.fence(HOST, MIGRATION);
    assert.equal(String(lines.at(-1)?.fields.stdout).length, 4_096);
  });

  it("that cannot be started, or is not there, is told apart", async (t) => {
    const { lines, folder } = await withCommand(t, "true");
    const log = { warn: (fields: object) => lines.push({ fields: { ...fields }, sentence: "" }), error() {} };
    const options = { timeoutMs: 1_000, environment: {}, log: log as unknown as Log };
    const absent = new FencingCommand({ ...options, path: join(folder, "absent") });
    await assert.rejects(absent.fence(HOST, MIGRATION), failing("FENCE_COMMAND_FAILED", /did not start/));
    const none = new FencingCommand({ ...options, path: undefined });
    await assert.rejects(none.fence(HOST, MIGRATION), failing("NO_FENCE_COMMAND", /no fencing command/));
  });
});
