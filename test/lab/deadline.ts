import { setTimeout as delay } from "node:timers/promises";
import { SwitchoverError } from "../../proto/error.ts";

/** The error of a wait that ended without its event; `what` completes "... did not happen within N ms". */
export function deadlineExceeded(what: string, timeoutMs: number): SwitchoverError {
  return new SwitchoverError("DEADLINE_EXCEEDED", `${what} did not happen within ${timeoutMs} ms.`, {
    reason: "LAB_DEADLINE",
  });
}

/** Settles as `promise` does, or rejects with DEADLINE_EXCEEDED after `timeoutMs`. */
export async function withDeadline<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expiry = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(deadlineExceeded(what, timeoutMs)), timeoutMs);
  });
  try {
    return await Promise.race([promise, expiry]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks `probe` every `intervalMs` until it returns a value, for states that announce themselves to nobody. */
export async function pollUntil<T>(
  probe: () => Promise<T | undefined> | T | undefined,
  timeoutMs: number,
  what: string,
  intervalMs = 5,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (performance.now() > deadline) throw deadlineExceeded(what, timeoutMs);
    await delay(intervalMs);
  }
}
