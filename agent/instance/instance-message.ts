import {
  CpuState,
  type GuestInstance,
  MigrationRole,
  RightToRun,
} from "../../proto/gen/switchover/v1/guest.ts";
import { Registration } from "../../proto/gen/switchover/v1/nic.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import { type Guest, holdsRightToRun } from "../guest/guest.ts";
import type { CpuSource } from "./cpu-source.ts";
import { toNicMessage } from "./nic-message.ts";
import { demandsOf } from "./vmm-demands.ts";

/** An instance as the contract shows it. */
export function toInstanceMessage(
  guest: Guest,
  nics: readonly NicDefinition[],
  source: CpuSource,
): GuestInstance {
  return {
    guestId: guest.guestId,
    instanceId: guest.instanceId,
    hostId: guest.hostId,
    fence: guest.fence,
    cpuState: guest.cpus.kind === "running" ? CpuState.RUNNING : CpuState.STOPPED,
    runState: runStateOf(guest),
    registration: registrationOf(guest),
    rightToRun: rightToRunOf(guest),
    migrationId: guest.migration?.migrationId ?? "",
    role: roleOf(guest),
    nics: nics.map(toNicMessage),
    demands: demandsOf(guest, source),
    transferUri: source.kind === "external" ? source.vmm.transferUri : "",
  };
}

/** Empty while the reason of a stop has not been read yet. */
function runStateOf({ cpus }: Guest): string {
  if (cpus.kind === "running") return "running";
  return cpus.runState === "unread" ? "" : cpus.runState;
}

/** Of the NICs that follow the guest's CPUs. */
export function registrationOf(guest: Guest): Registration {
  if (guest.registrationFailures > 0) return Registration.FAILED;
  return guest.registration === "registered" ? Registration.REGISTERED : Registration.QUARANTINED;
}

function rightToRunOf(guest: Guest): RightToRun {
  if (holdsRightToRun(guest)) return RightToRun.HELD;
  if (guest.role.kind === "fenced") return RightToRun.HANDED_BACK;
  return guest.role.kind === "relinquished" ? RightToRun.HANDED_OFF : RightToRun.AWAITED;
}

function roleOf(guest: Guest): MigrationRole {
  if (guest.migration === null) return MigrationRole.UNSPECIFIED;
  return guest.migration.side === "source" ? MigrationRole.SOURCE : MigrationRole.DESTINATION;
}
