import type { GuestQemu } from "./guest.ts";

const ALIVE_BEATS = 5;
const ALIVE_TIMEOUT_MS = 5_000;

/** Whether the guest's heartbeat goes on in its new QEMU: a dead guest is not a lost network. Waits 5 s at most. */
export async function livesIn(destination: GuestQemu, lastSeqAtSource: number): Promise<"alive" | "dead"> {
  try {
    const beat = await destination.waitForHeartbeatAfter(lastSeqAtSource + ALIVE_BEATS, ALIVE_TIMEOUT_MS);
    return beat.host === destination.host ? "alive" : "dead";
  } catch {
    return "dead";
  }
}
