import { type Drain, DrainPhase } from "../../proto/gen/switchover/v1/drain.ts";
import { parseDrainId } from "../../proto/ids.ts";
import type { CommandPorts } from "./commands.ts";
import { type CancelDrainValues, type DrainValues, drainRequest } from "./drain-settings.ts";
import { EXIT_CODES } from "./exit-code.ts";

/** What the commands about drains do; each returns the exit code, throws SwitchoverError. */
export async function drain(values: DrainValues, ports: CommandPorts): Promise<number> {
  const begun = await ports.client.drain(drainRequest(values));
  if (values.wait === "on") return watchDrain(begun.drainId, ports);
  ports.display.drain(begun);
  return EXIT_CODES.done;
}

export async function showDrain(drainId: string, { client, display }: CommandPorts): Promise<number> {
  parseDrainId(drainId, "DRAIN_ID");
  const stands = await client.getDrain(drainId);
  display.drain(stands);
  return exitCodeOfDrain(stands) ?? EXIT_CODES.done;
}

export async function watchDrain(
  drainId: string,
  { client, display, signal }: CommandPorts,
): Promise<number> {
  parseDrainId(drainId, "DRAIN_ID");
  for await (const stands of client.watchDrain(drainId, signal)) {
    display.drain(stands);
    const exitCode = exitCodeOfDrain(stands);
    if (exitCode !== undefined) return exitCode;
  }
  return EXIT_CODES.unreachable;
}

export async function cancelDrain(
  values: CancelDrainValues,
  drainId: string,
  ports: CommandPorts,
): Promise<number> {
  parseDrainId(drainId, "DRAIN_ID");
  const cancelMigrations = values["cancel-migrations"] === "on";
  const cancelled = await ports.client.cancelDrain({ drainId, cancelMigrations });
  ports.display.drain(cancelled);
  return EXIT_CODES.done;
}

/** Undefined while it goes on. */
function exitCodeOfDrain({ phase }: Drain): number | undefined {
  switch (phase) {
    case DrainPhase.DRAINED:
      return EXIT_CODES.done;
    case DrainPhase.CANCELLED:
    case DrainPhase.INCOMPLETE:
      return EXIT_CODES.failed;
    default:
      return undefined;
  }
}
