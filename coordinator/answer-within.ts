import { SwitchoverError } from "../proto/error.ts";
import type { Clock } from "./clock.ts";

/**
 * What `work` comes to, or UNAVAILABLE / OUTCOME_UNKNOWN after `withinMs`: the store is away, and the work may still be
 * done.
 */
export function answerWithin<T>(clock: Clock, withinMs: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(withinMs, () => {
      const sentence = `The store did not answer within ${withinMs} ms; what was asked may still be done.`;
      reject(new SwitchoverError("UNAVAILABLE", sentence, { reason: "OUTCOME_UNKNOWN" }));
    });
    work.then(resolve, reject).finally(cancel);
  });
}
