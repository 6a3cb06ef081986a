import { SwitchoverError } from "../../proto/error.ts";
import type { GuestRunner } from "../guest/guest-runner.ts";

const VMM_END_TIMEOUT_MS = 3_000;

/** Waits a while for a VMM that was told to quit. One that hangs is told again by the gate, and never started. */
export async function awaitVmmEnd(runner: GuestRunner): Promise<void> {
  try {
    await runner.waitUntil(({ vmm }) => vmm === "lost", VMM_END_TIMEOUT_MS, "the VMM to end");
  } catch (thrown) {
    if (SwitchoverError.from(thrown).reason !== "STILL_WAITING") throw thrown;
  }
}
