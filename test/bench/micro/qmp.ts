import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openQmp } from "../../../agent/vmm/qmp-client.ts";
import { openHostClock } from "../../../services/clock/host-clock.ts";
import { pollUntil } from "../../lab/deadline.ts";
import { TrackedProcess } from "../../lab/tracked-process.ts";
import { type Figure, figureOf, type MicroPart } from "./figure.ts";

const START_WITHIN_MS = 10_000;
const ANSWER_WITHIN_MS = 5_000;
const TIMES = 20;

export const QMP: MicroPart = {
  name: "qmp",
  summary: "a question to a real QEMU and its answer; a STOP from QEMU's stamp to the agent's listener",
  measure: async ({ repeats }) => measureQmp(repeats * TIMES),
};

async function measureQmp(times: number): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), "switchover-qmp-"));
  const path = join(folder, "qmp");
  const qemu = TrackedProcess.start([], "qemu-system-x86_64", [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-m", "16"],
    ...["-accel", "tcg,thread=single", "-S", "-qmp", `unix:${path},server=on,wait=off`],
  ]);
  qemu.ignoreOutput();
  try {
    await pollUntil(() => existsSync(path) || undefined, START_WITHIN_MS, "QEMU's socket");
    const [roundTripsUs, eventsUs]: [number[], number[]] = [[], []];
    const client = await openQmp({
      path,
      connectTimeoutMs: START_WITHIN_MS,
      clock: openHostClock(),
      onEvent: ({ atUnixUs, name, receivedAtUnixUs }) => {
        if (name === "STOP") eventsUs.push(receivedAtUnixUs - atUnixUs);
      },
      onClosed: () => {},
    });
    const ask = (command: string) => client.execute(command, undefined, { timeoutMs: ANSWER_WITHIN_MS });
    for (let time = 0; time < times; time += 1) {
      const fromMs = performance.now();
      await ask("query-status");
      roundTripsUs.push((performance.now() - fromMs) * 1000);
    }
    for (let time = 0; time < times / TIMES; time += 1) {
      await ask("cont");
      await ask("stop");
    }
    client.close();
    return [
      figureOf("query-status, asked and answered", "us", roundTripsUs),
      figureOf("STOP, QEMU's stamp to the agent's listener", "us", eventsUs),
    ];
  } finally {
    await qemu.kill();
    await rm(folder, { recursive: true });
  }
}
