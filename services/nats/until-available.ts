import { SwitchoverError } from "../../proto/error.ts";
import { waitMs } from "./connection.ts";

const AGAIN_AFTER_MS = 250;

/**
 * What `work` comes to; done anew while it fails with UNAVAILABLE, as it does while a cluster of NATS elects, for up to
 * `withinMs` and until the signal. `work` must be idempotent. Rejects with its last fault.
 */
export async function untilAvailable<T>(
  withinMs: number,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  const giveUpAtMs = performance.now() + withinMs;
  for (;;) {
    try {
      return await work();
    } catch (thrown) {
      const isPassing = SwitchoverError.from(thrown).code === "UNAVAILABLE";
      if (!isPassing || signal.aborted || performance.now() >= giveUpAtMs) throw thrown;
    }
    await waitMs(AGAIN_AFTER_MS, signal);
  }
}
