import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { SwitchoverError } from "../../proto/error.ts";
import type { SocketAddress } from "../config/parsers.ts";

/** A server's own address as a URL without a path, with the port that was picked; `what` begins the sentence of UNAVAILABLE / CANNOT_LISTEN. */
export async function listenHttp(
  server: Server,
  { address, port }: SocketAddress,
  what: string,
): Promise<string> {
  server.listen(port, address);
  try {
    await once(server, "listening");
  } catch (thrown) {
    const { message } = SwitchoverError.from(thrown);
    throw new SwitchoverError("UNAVAILABLE", `${what} cannot be served at ${address}:${port}: ${message}.`, {
      reason: "CANNOT_LISTEN",
      metadata: { target: `${address}:${port}` },
      cause: thrown,
    });
  }
  server.on("error", () => {});
  const bound = (server.address() as AddressInfo).port;
  return `http://${address.includes(":") ? `[${address}]` : address}:${bound}`;
}

/** Ends all its connections at once; resolves when it has closed. */
export async function closeHttp(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}
