import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { lifeOf } from "../../agent/instance/reach-vmm.ts";
import {
  parseProcessStat,
  parseSocketInodes,
  readPeerProcess,
  readProcessLife,
  type VmmProcess,
} from "../../agent/vmm/vmm-process.ts";

const LISTEN = `
  const { createServer } = require("node:net");
  createServer((socket) => socket.on("error", () => {})).listen(process.argv[1], () => console.log("listens"));
`;
/** Listens, gives the listening socket to a child of its own, and closes it: what libvirt does for QEMU. */
const HAND_ON = `
  const { createServer } = require("node:net");
  const { spawn } = require("node:child_process");
  const server = createServer().listen(process.argv[1], () => {
    // Ends with its parent, however that ends.
    spawn(process.execPath, ["-e", "process.stdin.resume()"], {
      stdio: ["pipe", "ignore", "ignore", server._handle.fd],
    });
    server.unref();
    // Node would unlink the path with a proper close.
    require("node:fs").closeSync(server._handle.fd);
    console.log("listens");
    setInterval(() => {}, 1000);
  });
`;

describe("a process behind a socket", { timeout: 30_000 }, () => {
  it("is known by its number and its start, and lives until it ends", async (t) => {
    const { child, path } = await listening(t, LISTEN);
    const peer = await peerOf(t, path);
    assert.ok(peer);
    assert.equal(peer.pid, child.pid);
    assert.equal(readProcessLife(peer), "alive");
    assert.equal(readProcessLife({ ...peer, startTicks: peer.startTicks + 1 }), "dead");
    child.kill("SIGSTOP");
    assert.equal(readProcessLife(peer), "alive");
    child.kill("SIGKILL");
    await once(child, "exit");
    assert.equal(readProcessLife(peer), "dead");
  });

  it("is not known where it is this very process", async (t) => {
    const path = socketPath(t);
    const server = createServer().listen(path);
    await once(server, "listening");
    t.after(() => server.close());
    assert.equal(await peerOf(t, path), undefined);
  });

  it("is not known where it handed its socket on", async (t) => {
    const { path } = await listening(t, HAND_ON);
    assert.equal(await peerOf(t, path), undefined);
  });
});

it("a process that has ended and was not reaped is dead", async (t) => {
  // A shell that becomes `sleep` never waits for the child that it had.
  const child = spawn("sh", ["-c", "sleep 0.2 & echo $!; exec sleep 60"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  t.after(() => child.kill("SIGKILL"));
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const pid = Number(String(line));
  for (let look = 0; look < 1_000; look++) {
    const stat = parseProcessStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
    if (stat?.state === "Z") {
      assert.equal(readProcessLife({ pid, startTicks: stat.startTicks }), "dead");
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail("the child never became a zombie");
});

describe("the journaled process of a VMM", () => {
  const adopted = {
    kind: "adopted",
    qmpPath: "/run/a1",
    process: { pid: 42, startTicks: 9 },
    bootId: "one",
  } as const;

  it("is dead after another boot of the host, whatever has its number now", () => {
    assert.equal(lifeOf(adopted, { bootId: "two", processLife: () => "alive" }), "dead");
    assert.equal(lifeOf(adopted, { bootId: "one", processLife: () => "alive" }), "alive");
  });

  it("is not known where none was journaled, or nobody can look", () => {
    assert.equal(
      lifeOf({ kind: "adopted", qmpPath: "/run/a1" }, { bootId: "one", processLife: () => "dead" }),
      "unknown",
    );
    assert.equal(lifeOf(adopted, { bootId: "one" }), "unknown");
  });
});

describe("/proc", () => {
  it("tells state and start also of a process with brackets and spaces in its name", () => {
    const text = `42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0 ${"0 ".repeat(28)}`;
    assert.deepEqual(parseProcessStat(text), { state: "S", startTicks: 987654 });
  });

  for (const text of ["", "42 (sh", "42 (sh) ", "42 (sh) S 1 2 3"]) {
    it(`tells nothing of a process in ${JSON.stringify(text)}`, () => {
      assert.equal(parseProcessStat(text), undefined);
    });
  }

  it("tells the sockets of one path, and of no longer one", () => {
    const text = [
      "Num       RefCount Protocol Flags    Type St Inode Path",
      "0000000000000000: 00000002 00000000 00010000 0001 01 111 /run/a b.sock",
      "0000000000000000: 00000003 00000000 00000000 0001 03 222 /run/a b.sock",
      "0000000000000000: 00000003 00000000 00000000 0001 03 333 /run/a b.sock2",
      "0000000000000000: 00000003 00000000 00000000 0001 03 444",
      "",
    ].join("\n");
    assert.deepEqual([...parseSocketInodes(text, "/run/a b.sock")], ["111", "222"]);
  });
});

function socketPath(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "switchover-process-"));
  t.after(() => rmSync(directory, { recursive: true }));
  return join(directory, "socket");
}

async function listening(t: TestContext, program: string) {
  const path = socketPath(t);
  const child = spawn(process.execPath, ["-e", program, path], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    await once(child, "exit");
  });
  await once(child.stdout, "data");
  return { child, path };
}

async function peerOf(t: TestContext, path: string): Promise<VmmProcess | undefined> {
  const socket = connect({ path });
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  await once(socket, "connect");
  const { _handle: handle } = socket as unknown as { _handle: { fd: number } };
  return readPeerProcess(handle.fd, path);
}
