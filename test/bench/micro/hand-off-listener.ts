/**
 * The destination's end of the hand-off benchmark, a process of its own: `node hand-off-listener.js <NATS URL> <guest>`.
 *
 * stdout: `port N` once it listens on TCP and NATS, then `nats <epoch> <unix us>` and `tcp <epoch> <unix us>` for each word.
 */
import { createServer } from "node:net";
import { HandOff } from "../../../proto/gen/switchover/v1/guest.ts";
import type { GuestId } from "../../../proto/ids.ts";
import { NatsLink } from "../../../services/nats/connection.ts";
import { NatsHandOffBus } from "../../../services/nats/hand-off-bus.ts";
import { SILENT_LOG } from "../../kernel/agent-bench.ts";
import { unixMicros } from "../../lab/realtime-clock.ts";

const REACHABLE_WITHIN_MS = 10_000;
const [url = "", guestId = ""] = process.argv.slice(2);

const tell = (way: string, { fence }: HandOff, atUnixUs: number): void => {
  process.stdout.write(`${way} ${fence?.epoch ?? 0n} ${atUnixUs}\n`);
};
const link = NatsLink.open({ url, name: "listener", log: SILENT_LOG });
const connection = await link.whenReachable(REACHABLE_WITHIN_MS);
new NatsHandOffBus(link, SILENT_LOG).subscribe(guestId as GuestId, (word) =>
  tell("nats", word, unixMicros()),
);
await connection.flush();
// The same words, without NATS between: a JSON text each, one at a time.
const server = createServer((socket) => {
  socket.setNoDelay(true);
  socket.on("data", (bytes) => {
    const word = HandOff.fromJSON(JSON.parse(bytes.toString()));
    tell("tcp", word, unixMicros());
  });
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.stdout.write(`port ${typeof address === "object" ? address?.port : ""}\n`);
});
