import { hasSaid } from "./journaled.ts";
import type { Fault } from "./schedule.ts";
import type { SimulatedInstance, World } from "./world.ts";

/** An agent whose disk is full for so long yet hears of a RESUME before it can journal anything. Microseconds. */
const HEARD_WITHIN_US = 1_000;

/** Whether the guest's QEMU is past its switch, or in it, and its agent has not given the word. */
export function isUnguarded(instance: SimulatedInstance): boolean {
  const { transfer } = instance.qemu;
  if (transfer?.source !== instance.qemu) return false;
  return (transfer.isSwitching() || transfer.hasLeftSource()) && !hasSaid(instance, "handedOff");
}

/**
 * Somebody at the monitor, or a disk's error, stops and starts the CPUs by turns, as long as the VMM lets him. The returned
 * function ends that.
 */
export function toggleCpus(
  world: World,
  instance: SimulatedInstance,
  { runState, times, everyUs }: Extract<Fault, { kind: "cpusToggled" }>,
): () => void {
  const { qemu } = instance;
  let hasStopped = false;
  let state: "going on" | "over" = "going on";
  const toggle = (left: number): void => {
    if (left === 0 || !qemu.isAlive || state === "over") return;
    // What its owner wants of it, nobody knows any more.
    world.guest.wanted = "either";
    world.guest.meddledAtUs = world.timeline.nowUs;
    if (qemu.isRunning) {
      hasStopped = true;
      qemu.execute({ name: "stop", runState }, () => {});
    } else if (mayStart(world, instance, hasStopped ? runState : "")) {
      const by = hasSaid(instance, "handedOff") ? "stranger" : "operator";
      qemu.execute({ name: "cont", by }, () => {});
    }
    world.timeline.after(everyUs, () => toggle(left - 1));
  };
  toggle(times);
  return () => {
    state = "over";
  };
}

/** What he stopped himself; and what stands since a switch whose word finds no room on the disk, which keeps it here. */
function mayStart(world: World, instance: SimulatedInstance, stoppedAs: string): boolean {
  const { host, qemu } = instance;
  if (!instance.isKnown) return false;
  if (!isUnguarded(instance)) return qemu.runState === stoppedAs;
  const isWordStuck =
    host.disk.room === "none" && host.disk.fullUntilUs > world.timeline.nowUs + HEARD_WITHIN_US;
  return isWordStuck && [stoppedAs, "postmigrate"].includes(qemu.runState);
}
