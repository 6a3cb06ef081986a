import { SwitchoverError } from "../../proto/error.ts";

/** A place in line is worth asking for again after about the time that a migration takes. */
const RETRY_AFTER_MS = 5_000;

export function queueFull(queued: number): SwitchoverError {
  const sentence = `${queued} migrations wait already, which is the limit; ask again in ${RETRY_AFTER_MS} ms.`;
  return new SwitchoverError("RESOURCE_EXHAUSTED", sentence, {
    reason: "QUEUE_FULL",
    metadata: { retry_after_ms: String(RETRY_AFTER_MS) },
    retryAfterMs: RETRY_AFTER_MS,
  });
}
