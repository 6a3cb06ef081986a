import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { OwnNatsServer } from "../../services/nats-server/own-nats-server.ts";
import { natsBench, rejection, silent, until } from "./nats-bench.ts";

const nats = natsBench();

test("without the program the reason is one sentence", async () => {
  const error = await rejection(
    OwnNatsServer.start({
      address: "127.0.0.1",
      port: 0,
      folder: nats.newFolder("none"),
      log: silent,
      program: "no-such-nats",
    }),
  );
  assert.equal(error.reason, "NATS_SERVER_MISSING");
  assert.match(error.message, /install nats-server, or give --nats-url\.$/);
});

test("a port that is taken is named", async (t) => {
  const occupant = createServer().listen(0, "127.0.0.1");
  await once(occupant, "listening");
  t.after(() => occupant.close());
  const address = occupant.address();
  assert.ok(address !== null && typeof address === "object");
  const error = await rejection(
    OwnNatsServer.start({
      address: "127.0.0.1",
      port: address.port,
      folder: nats.newFolder("taken"),
      log: silent,
    }),
  );
  assert.equal(error.reason, "NATS_SERVER_FAILED");
  assert.match(error.message, new RegExp(`${address.port}.*address already in use`));
});

test("a server that a killed owner left behind makes room, and its data stay", async (t) => {
  const own = nats.newFolder("left");
  const script = `import { OwnNatsServer } from ${JSON.stringify(new URL("../../services/nats-server/own-nats-server.js", import.meta.url).href)};
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const server = await OwnNatsServer.start({ address: "127.0.0.1", port: 0, folder: ${JSON.stringify(own)}, log });
    process.stdout.write(String(server.pid), () => process.kill(process.pid, "SIGKILL"));`;
  const owner = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  owner.stdout.on("data", (part) => (printed += String(part)));
  await once(owner, "close");
  const orphan = Number(printed);
  // Signals to process 0 go to this very group.
  assert.ok(orphan > 0, "The owner did not get as far as its server.");
  t.after(() => isAlive(orphan) && process.kill(orphan, "SIGKILL"));
  assert.ok(isAlive(orphan));
  const successor = await OwnNatsServer.start({ address: "127.0.0.1", port: 0, folder: own, log: silent });
  t.after(() => successor.close());
  await until(() => !isAlive(orphan), "the orphan's end");
  assert.ok(isAlive(successor.pid));
});

test("close ends the server", async () => {
  const closing = await nats.startServer("close");
  const { pid } = closing;
  await closing.close();
  assert.ok(!isAlive(pid));
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
