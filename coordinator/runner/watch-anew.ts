import { SwitchoverError } from "../../proto/error.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { pause } from "./pause.ts";

interface WatchAnew<T> {
  /** In the log's sentence: "slots". */
  readonly of: string;
  readonly begin: () => AsyncIterable<T>;
  readonly hear: (value: T) => void;
  readonly againAfterMs: number;
}

/** Hears all that a watch brings, until the signal; one that fails or ends is told of and begins anew. Never rejects. */
export async function watchAnew<T>(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  { of, begin, hear, againAfterMs }: WatchAnew<T>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      for await (const value of begin()) hear(value);
    } catch (thrown) {
      const { message, code, reason } = SwitchoverError.from(thrown);
      log.warn({ code, reason }, `The watch of ${of} failed and begins anew: ${message}`);
    }
    await pause(clock, againAfterMs, signal);
  }
}
