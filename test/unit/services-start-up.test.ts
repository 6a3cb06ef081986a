/** What programs say when they cannot start, and how they end while they do. Needs node only. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { makeFolder } from "../../services/folder/make-folder.ts";
import { ENVIRONMENT, launch, logLine, newFolder, runToEnd, terminate } from "./program-process.ts";

const START_LIMIT = { timeout: 20_000 };
const NOBODY = "nats://127.0.0.1:1";

function coordinator(folder: string, ...flags: string[]): readonly string[] {
  return [
    "--insecure-loopback",
    "--listen",
    "127.0.0.1:0",
    "--nats-listen",
    "127.0.0.1:0",
    "--data-dir",
    folder,
    ...flags,
  ];
}

function agent(stateDirectory: string): readonly string[] {
  return [
    "--insecure-loopback",
    "--listen",
    "127.0.0.1:0",
    "--nats-url",
    NOBODY,
    "--state-dir",
    stateDirectory,
  ];
}

describe("a flag that shows itself wrong at the start", () => {
  it("is told like any other: a path that no state can be kept below", START_LIMIT, async (t) => {
    const ended = await runToEnd(t, "agent", agent("/proc/x/y"));
    assert.equal(ended.code, 2, ended.stderr);
    const sentence =
      "--state-dir: the folder /proc/x/y/feed cannot be made: /proc/x: no such file or directory.";
    assert.match(ended.stderr, new RegExp(`^switchover-agent: ${sentence}$`, "m"));
    assert.doesNotMatch(ended.stderr, /stack/);
  });

  it("is told like any other: a path that no store of nats-server can be below", START_LIMIT, async (t) => {
    const ended = await runToEnd(t, "coordinator", coordinator("/proc/x/y"));
    assert.equal(ended.code, 2, ended.stderr);
    assert.match(
      ended.stderr,
      /^switchover-coordinator: --data-dir: the folder \/proc\/x\/y\/nats cannot be made: /m,
    );
  });

  it("is told like any other: a fencing command that cannot be run", START_LIMIT, async (t) => {
    const folder = await newFolder(t);
    const ended = await runToEnd(
      t,
      "coordinator",
      coordinator(folder, "--fence-command", join(folder, "absent")),
    );
    assert.equal(ended.code, 2, ended.stderr);
    assert.match(ended.stderr, /^switchover-coordinator: --fence-command: ".*absent" cannot be run\.$/m);
    assert.doesNotMatch(ended.stderr, /stack/);
  });
});

describe("the folder that a program keeps", () => {
  it(
    "is one agent's alone, by whatever name, until that agent ends, and at once its successor's",
    START_LIMIT,
    async (t) => {
      const folder = await newFolder(t);
      const directory = join(folder, "state");
      const other = join(folder, "other-name");
      await symlink(directory, other);
      const first = launch(t, "agent", agent(directory));
      await logLine(first, "The agent listens.");
      for (const path of [directory, other]) {
        const second = await runToEnd(t, "agent", agent(path));
        assert.equal(second.code, 2, second.stderr);
        const sentence = `the folder ${path} is in use by another agent(, process ${first.pid})?.`;
        assert.match(second.stderr, new RegExp(`^switchover-agent: --state-dir: ${sentence}$`, "m"));
        assert.doesNotMatch(second.stderr, /stack/);
      }
      const ended = once(first, "exit");
      first.kill("SIGKILL");
      await ended;
      const next = launch(t, "agent", agent(directory));
      await logLine(next, "The agent listens.");
      assert.equal(await terminate(next), 0);
    },
  );

  it("is one coordinator's alone, whose nats-server nobody else ends", START_LIMIT, async (t) => {
    const folder = await newFolder(t);
    const first = launch(t, "coordinator", coordinator(folder));
    await logLine(first, "The coordinator listens.");
    const pidFile = join(folder, "nats", "nats-server.pid");
    const server = await pidIn(pidFile);
    const second = await runToEnd(t, "coordinator", coordinator(folder));
    assert.equal(second.code, 2, second.stderr);
    assert.match(second.stderr, /--data-dir: the folder .*nats is in use by another coordinator/);
    assert.equal(await pidIn(pidFile), server);
    process.kill(server, 0);
  });
});

describe("a program that is to end while it starts", () => {
  it("does not wait for a NATS that is not there", START_LIMIT, async (t) => {
    const child = launch(t, "coordinator", coordinator(await newFolder(t), "--nats-url", NOBODY));
    await logLine(child, "switchover-coordinator starts.");
    await endsSoon(terminate(child));
  });

  it("leaves no nats-server behind that was not ready yet", START_LIMIT, async (t) => {
    const folder = await newFolder(t);
    await sleepingNatsServer(folder);
    const environment = { ...ENVIRONMENT, PATH: `${folder}:${ENVIRONMENT.PATH}` };
    const child = launch(t, "coordinator", coordinator(folder), environment);
    const pid = await pidIn(join(folder, "pid"));
    await endsSoon(terminate(child));
    assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
  });

  it("ends an agent too, whose guests stay as they are", START_LIMIT, async (t) => {
    const child = launch(t, "agent", agent(await newFolder(t)));
    await logLine(child, "switchover-agent starts.");
    await endsSoon(terminate(child));
  });
});

async function endsSoon(ending: Promise<number | null>): Promise<void> {
  const startMs = performance.now();
  assert.equal(await ending, 0);
  assert.ok(performance.now() - startMs < 3_000);
}

/** A nats-server that is never ready, and says who it is. */
async function sleepingNatsServer(folder: string): Promise<void> {
  const path = join(folder, "nats-server");
  await writeFile(
    path,
    `#!/bin/sh\necho $$ > ${folder}/pid.new; mv ${folder}/pid.new ${folder}/pid\nexec sleep 60\n`,
  );
  await chmod(path, 0o755);
}

async function pidIn(path: string): Promise<number> {
  for (;;) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (text !== "") return Number(text);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe("a folder for what a program keeps", () => {
  const make = (path: string) => makeFolder(path, { field: "--state-dir", mode: 0o700 });

  it("is made with all above it, for its owner alone, and may be there already", async (t: TestContext) => {
    const path = join(await newFolder(t), "a", "b", "c");
    await make(path);
    await make(path);
    for (const made of [path, join(path, "..")]) assert.equal((await stat(made)).mode & 0o777, 0o700);
  });

  it("may be reached by a link", async (t: TestContext) => {
    const folder = await newFolder(t);
    await mkdir(join(folder, "real"));
    await symlink(join(folder, "real"), join(folder, "link"));
    await make(join(folder, "link"));
    await make(join(folder, "link", "below"));
  });

  it("is refused where something else is in the way, naming the flag and what is wrong", async (t: TestContext) => {
    const folder = await newFolder(t);
    await writeFile(join(folder, "file"), "");
    const refused = { code: "INVALID_ARGUMENT", reason: "FOLDER_NOT_MADE", field: "--state-dir" };
    for (const path of ["file", "file/below", "n".repeat(300)]) {
      await assert.rejects(make(join(folder, path)), refused, path);
    }
    await assert.rejects(make("/proc/x/y"), refused);
  });
});
