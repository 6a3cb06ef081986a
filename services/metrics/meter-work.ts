import { SwitchoverError } from "../../proto/error.ts";
import type { Timing } from "./timing.ts";

/** Times the work, whatever comes of it, and tells the reason where it fails; its error goes on as it is. */
export function meterWork<T>(
  timing: Timing,
  work: () => Promise<T>,
  onFailure: (reason: string) => void,
): Promise<T> {
  return timing.time(() =>
    work().catch((thrown: unknown) => {
      onFailure(SwitchoverError.from(thrown).reason);
      throw thrown;
    }),
  );
}
