/** Run states that QEMU enters by itself at switchover; every other one had an owner's or a device's reason. */
const SWITCHOVER_RUN_STATES: ReadonlySet<string> = new Set([
  "finish-migrate",
  "postmigrate",
  "pre-switchover",
]);

/** Whether CPUs that stand in this run state were stopped by QEMU's own switchover: STOP itself carries no reason. */
export function isSwitchoverRunState(runState: string): boolean {
  return SWITCHOVER_RUN_STATES.has(runState);
}
