import { readFile } from "node:fs/promises";
import type { GuestQemu } from "./guest.ts";

const ALIVE_BEATS = 5;
const ALIVE_TIMEOUT_MS = 15_000;
const LAST_LINES = 20;
const PANIC = /Kernel panic|BUG:|Oops|segfault/;

/** Whether the guest's heartbeat goes on in its new QEMU: a dead guest is not a lost network. Waits 15 s at most. */
export async function livesIn(destination: GuestQemu, lastSeqAtSource: number): Promise<"alive" | "dead"> {
  try {
    const beat = await destination.waitForHeartbeatAfter(lastSeqAtSource + ALIVE_BEATS, ALIVE_TIMEOUT_MS);
    return beat.host === destination.host ? "alive" : "dead";
  } catch {
    return "dead";
  }
}

/** What the guest's kernel said last: tells a guest that the emulator killed from one that lost its network. */
export async function lastWordsOf({ instance, serialLogPath }: GuestQemu): Promise<string> {
  const serial = (await readFile(serialLogPath, "utf8")).split("\n").slice(-LAST_LINES).join("\n");
  return `${instance}:\n${serial}\n`;
}

/** Whether the guest's kernel gave up in this QEMU, as one does whose memory the emulator lost writes of. */
export async function hasPanicked({ serialLogPath }: GuestQemu): Promise<"yes" | "no"> {
  return PANIC.test(await readFile(serialLogPath, "utf8")) ? "yes" : "no";
}
