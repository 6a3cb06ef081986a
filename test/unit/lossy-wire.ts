import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as connectSocket, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";

/** A wire to a server whose answers can be lost. */
export async function openWire(t: TestContext, serverPort: number) {
  const sockets = new Set<Socket>();
  const wire = {
    port: 0,
    answers: "passed on" as "passed on" | "lost",
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
  const listener = createServer((client) => {
    const upstream = connectSocket(serverPort, "127.0.0.1");
    for (const [socket, peer] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        peer.destroy();
      });
    }
    client.on("data", (bytes) => upstream.write(bytes));
    upstream.on("data", (bytes) => wire.answers === "passed on" && client.write(bytes));
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  t.after(() => {
    wire.cut();
    listener.close();
  });
  const address = listener.address();
  assert.ok(address !== null && typeof address === "object");
  wire.port = address.port;
  return wire;
}
