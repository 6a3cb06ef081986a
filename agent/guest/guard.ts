import type { Guest } from "./guest.ts";
import { alarm, type Step, step } from "./step.ts";

/** `stop` may be lost with a connection, or refused: it is sent until the CPUs stand. */
const STOP_AGAIN_MS = 100;

/** CPUs that run against this host's own journal are stopped at once, with an alarm, until they stand. */
export function stopWithoutRight(guest: Guest, sentence: string): Step {
  return step(guest, [
    { kind: "sendStop" },
    { kind: "setTimer", timer: "stopAgain", delayMs: STOP_AGAIN_MS },
    alarm("RAN_WITHOUT_RIGHT", sentence),
  ]);
}
