import { Phase } from "../../../proto/gen/switchover/v1/migration.ts";
import type { ControlPlane } from "./control-plane.ts";
import type { Violation } from "./invariants.ts";
import { GUEST_ID } from "./names.ts";
import { isLacking, registrationOf } from "./registrations.ts";
import type { World } from "./world.ts";

const TERMINAL: ReadonlySet<Phase> = new Set([Phase.COMPLETED, Phase.CANCELLED, Phase.FAILED]);

/** What must hold once everything is healed and has come to rest; null where it does. */
export function judgeEnd(world: World, control: ControlPlane, faults: number): Violation | null {
  const { guest, nats } = world;
  const lost = (sentence: string): Violation => ({ invariant: "I8", sentence });
  const held = nats.record(GUEST_ID)?.migration;
  const phase = held?.migration?.phase;
  if (held !== undefined && (phase === undefined || !TERMINAL.has(phase) || !held.archived)) {
    return lost(`The migration ${held.migration?.migrationId} is still open, in phase ${phase}.`);
  }
  if (
    faults === 0 &&
    control.endings.some((ending) => ending === "refused" || ending.phase !== Phase.COMPLETED)
  ) {
    return lost("Nothing went wrong, and a migration did not complete.");
  }
  const living = guest.qemus.filter((qemu) => qemu.isAlive && qemu.memory !== null);
  if (control.owner === null) {
    return world.loss.cause() === null ? lost("The guest was said to be lost, and was not.") : null;
  }
  const { qemu } = control.owner;
  if (!qemu.isAlive) {
    return world.loss.cause() === null ? lost(`The guest's ${qemu.parts.name} is gone.`) : null;
  }
  const running = living.filter((candidate) => candidate.isRunning);
  if (guest.wanted === "running" && !running.includes(qemu)) {
    return lost(
      `The guest stands still on ${qemu.parts.name} (${qemu.runState}), and its owner wants it to run.`,
    );
  }
  if (guest.wanted === "stopped" && running.length > 0) {
    return lost(`The guest runs on ${running[0]?.parts.name}, and its owner had stopped it.`);
  }
  if (qemu.isRunning && isLacking(registrationOf(control.owner))) {
    return {
      invariant: "I5",
      sentence: `The guest runs on ${qemu.parts.name} without all its registrations.`,
    };
  }
  return null;
}
