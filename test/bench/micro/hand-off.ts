import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { HandOff } from "../../../proto/gen/switchover/v1/guest.ts";
import { NatsLink } from "../../../services/nats/connection.ts";
import { NatsHandOffBus } from "../../../services/nats/hand-off-bus.ts";
import { NatsNode } from "../../fleet/nats-node.ts";
import { SILENT_LOG } from "../../kernel/agent-bench.ts";
import { withDeadline } from "../../lab/deadline.ts";
import { unixMicros } from "../../lab/realtime-clock.ts";
import { TrackedProcess } from "../../lab/tracked-process.ts";
import { type Figure, figureOf, type MicroPart } from "./figure.ts";

const GUEST = "web";
const WITHIN_MS = 10_000;
const TIMES = 5;
/** Both sides' processes have slept, as before a switchover. */
const PAUSE_MS = 2;
const LISTENER = join(import.meta.dirname, "hand-off-listener.js");

export const HAND_OFF: MicroPart = {
  name: "hand-off",
  summary: "the source's word to another process over a real nats-server, beside the same text over TCP",
  measure: ({ repeats }) => measureHandOff(repeats * TIMES),
};

async function measureHandOff(times: number): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), "switchover-hand-off-"));
  const [nats] = await NatsNode.plan(1, folder);
  if (nats === undefined) throw new Error("There is no NATS.");
  nats.start();
  let listener: TrackedProcess | undefined;
  const link = NatsLink.open({ url: nats.url, name: "source", log: SILENT_LOG });
  try {
    await nats.whenReady();
    await link.whenReachable(WITHIN_MS);
    listener = TrackedProcess.start([], process.execPath, [LISTENER, nats.url, GUEST]);
    const lines = new Lines(listener);
    const [, port = ""] = await lines.next();
    const socket = connect(Number(port), "127.0.0.1").setNoDelay(true);
    const bus = new NatsHandOffBus(link, SILENT_LOG);
    const ways = {
      nats: (word: HandOff) => bus.publish(word),
      tcp: (word: HandOff) => void socket.write(JSON.stringify(HandOff.toJSON(word))),
    };
    const tookUs = { nats: [] as number[], tcp: [] as number[] };
    for (let epoch = 1; epoch <= times; epoch += 1) {
      for (const way of ["nats", "tcp"] as const) {
        await delay(PAUSE_MS);
        const word = HandOff.create({
          guestId: GUEST,
          fence: { epoch: BigInt(epoch), revision: 1n },
          runState: "running",
        });
        const sentAtUnixUs = unixMicros();
        ways[way](word);
        const [heard, of, atUnixUs] = await lines.next();
        if (heard !== way || of !== String(epoch))
          throw new Error(`Heard ${heard} ${of} for ${way} ${epoch}.`);
        tookUs[way].push(Number(atUnixUs) - sentAtUnixUs);
      }
    }
    socket.destroy();
    bus.close();
    return [
      figureOf("hand-off over NATS, one way", "us", tookUs.nats, "the same text over TCP, one way"),
      figureOf("the same text over TCP, one way", "us", tookUs.tcp),
    ];
  } finally {
    await listener?.kill();
    await link.close();
    await nats.end();
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a process says, line by line. */
class Lines {
  readonly #said: string[] = [];
  #wake: () => void = () => {};

  constructor(process: TrackedProcess) {
    process.onLine((line) => {
      this.#said.push(line);
      this.#wake();
    });
  }

  /** The words of the next line. */
  async next(): Promise<readonly string[]> {
    if (this.#said.length === 0) {
      const spoken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await withDeadline(spoken, WITHIN_MS, "A word of the listener");
    }
    return (this.#said.shift() ?? "").split(" ");
  }
}
