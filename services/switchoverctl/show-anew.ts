import { SwitchoverError } from "../../proto/error.ts";
import type { CommandPorts } from "./commands.ts";
import { WATCH_UNREACHABLE_S } from "./coordinator-client.ts";

/** A coordinator goes through all that is kept for each. */
const EVERY_MS = 2_000;

/**
 * Asks for a text every 2 s and shows it in place of the one before, until the person goes; null: it was shown already.
 * Where no coordinator answers it says so and tries on for 30 s, then throws that; any other refusal it throws at once.
 */
export async function showAnew(
  ask: () => Promise<string | null>,
  { display, signal }: Pick<CommandPorts, "display" | "signal">,
  everyMs = EVERY_MS,
): Promise<void> {
  for (let heardAtMs = performance.now(); !signal.aborted; ) {
    try {
      const text = await ask();
      if (text !== null) display.screen(text);
      heardAtMs = performance.now();
    } catch (thrown) {
      const { code, message } = SwitchoverError.from(thrown);
      const isGivenUp = performance.now() - heardAtMs > WATCH_UNREACHABLE_S * 1_000;
      if (code !== "UNAVAILABLE" || isGivenUp) throw thrown;
      display.screen(`No coordinator answers, trying on for ${WATCH_UNREACHABLE_S} s: ${message}`);
    }
    await pause(everyMs, signal);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    if (signal.aborted) end();
    else signal.addEventListener("abort", end);
  });
}
