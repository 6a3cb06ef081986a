import type { Fence } from "../../proto/epoch.ts";
import type { GuestId, HostId, InstanceId } from "../../proto/ids.ts";
import { isSwitchoverRunState } from "../../proto/switchover-run-state.ts";
import { type Cpus, type Guest, NO_STAY, RESIDENT, type Role } from "./guest.ts";
import { type Step, step } from "./step.ts";

/**
 * Takes an instance as it is found: without a journal a running guest keeps running and is registered, a stopped one
 * stays stopped. One that stands where a switchover left it, or whose VMM has sent it past one, or received it, may be
 * another host's, and holds no right to run. A guest that was loaded from a file shows the same as one that was received.
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
  /** How far its VMM's last transfer went, in or out, as it says. */
  readonly transferred: "past a switch" | "no guest" | "nothing";
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
    role: roleOf(found),
    vmm: "connected",
  };
  return step(guest, found.running ? [{ kind: "registerNics" }] : []);
}

function roleOf(found: Parameters<typeof adopt>[0]): Role {
  if (found.runState === "inmigrate") {
    return { kind: "vacant", load: found.transferred === "nothing" ? "owners" : "begunBefore" };
  }
  if (found.running) return RESIDENT;
  const isSwitched = isSwitchoverRunState(found.runState) || found.transferred === "past a switch";
  return isSwitched ? { kind: "forgotten", released: "kept" } : RESIDENT;
}
