import type { Fence } from "../../proto/epoch.ts";
import type { GuestId, HostId, InstanceId } from "../../proto/ids.ts";
import { type Cpus, type Guest, NO_STAY, RESIDENT } from "./guest.ts";
import { type Step, step } from "./step.ts";

/**
 * Takes an instance as it is found: without a journal a running guest keeps running and is registered, a stopped one
 * stays stopped.
 */
export function adopt(found: {
  readonly guestId: GuestId;
  readonly instanceId: InstanceId;
  readonly hostId: HostId;
  readonly fence: Fence;
  readonly runState: string;
  readonly running: boolean;
  readonly nics: Guest["nics"];
  readonly staysRegisteredFor: readonly string[];
}): Step {
  const cpus: Cpus = found.running ? { kind: "running" } : { kind: "stopped", runState: found.runState };
  const guest: Guest = {
    guestId: found.guestId,
    instanceId: found.instanceId,
    hostId: found.hostId,
    fence: found.fence,
    cpus,
    nics: found.nics,
    registration: "quarantined",
    staysRegisteredFor: found.staysRegisteredFor,
    stay: NO_STAY,
    registrationFailures: 0,
    drift: null,
    migration: null,
    role: found.runState === "inmigrate" ? { kind: "vacant" } : RESIDENT,
    vmm: "connected",
  };
  return step(guest, found.running ? [{ kind: "registerNics" }] : []);
}
