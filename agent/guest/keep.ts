import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { type Guest, type Outgoing, RESIDENT, type Resident, type SwitchoverStop } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import type { GuestOperation } from "./guest-operation.ts";
import { insisting, type Step, step, told } from "./step.ts";

/** How long until a VMM that was told to give the transfer up is asked again how that went. */
const READ_KEEP_AGAIN_MS = 100;

/**
 * How long a switchover that has stopped the CPUs is left to end by itself, as it mostly does within its downtime limit. A
 * `migrate_cancel` that comes while QEMU (before 10.0) gives its disks up has it run the guest again without them, and die
 * of the guest's next write: the race that its "migration/block: Rewrite disk activation" ended.
 */
const SWITCHOVER_ENDS_WITHIN_MS = 1_000;
const READ_SWITCHOVER_AGAIN_MS = 10;

/** QEMU's last words of a transfer that did not switch; `none` where it never began. */
const OVER: ReadonlySet<string> = new Set(["none", "failed", "cancelled"]);

/**
 * The guest is to stay. Where nothing was begun it stays at once; else the VMM is told to give the transfer up and asked,
 * in the same breath, what came of it: commands are answered in order, so the answer tells the fate of a `migrate` that
 * may still have been on its way. After `migrate-start-postcopy` there is no `migrate_cancel`, which on QEMU 7.2 can end
 * with the guest's state sent and the source resumed: only the connection is broken, as a network does it. Nor is it sent
 * to a QEMU that is just switching over.
 */
export function askToKeep(guest: Guest, role: Outgoing, atUnixUs: number): Step {
  const asked: Outgoing = { ...role, keep: "asked" };
  const next: Guest = { ...guest, role: asked };
  if (role.keep === "decided") return keepGuest(guest, role);
  // The word is due, and only the journal is yet to take it; or the guest runs on, and is never to be given away.
  if (!role.canFailBack) return guest.cpus.kind === "running" ? keepGuest(next, asked) : step(next);
  if (role.transfer === "notBegun" || guest.vmm === "lost") return keepGuest(next, asked);
  const question = { kind: "readTransferStatus", purpose: "keep" } as const;
  if (isInPostCopy(guest)) return step(next);
  if (role.postCopy === "asked") return step(next, [{ kind: "breakTransfer" }, question]);
  if (isSwitchingOver(role, atUnixUs)) {
    return step({ ...guest, role: { ...role, keep: "deferred" } }, [question]);
  }
  return step(next, [{ kind: "cancelTransfer" }, question]);
}

function isSwitchingOver({ runStateBefore, stop }: Outgoing, atUnixUs: number): boolean {
  if (stop === null || runStateBefore !== "running") return false;
  return atUnixUs - stop.receivedAtUnixUs < SWITCHOVER_ENDS_WITHIN_MS * 1_000;
}

/** What a VMM that was told to give the transfer up says of it. */
export function judgeKeep(
  guest: Guest,
  role: Outgoing,
  event: GuestEvent & { kind: "transferStatusRead" },
): Step {
  if (role.keep === "notAsked") return step(guest);
  // A status that was there before: a transfer of this guest cannot be completed while its CPUs run, nor when its VMM
  // refused to begin it, and so told of none.
  const isUntold = guest.migration?.transferStatus === "none";
  const isOlder = event.status === "completed" && (guest.cpus.kind === "running" || isUntold);
  if (OVER.has(event.status) || isOlder) return keepGuest(guest, role);
  if (role.keep === "deferred" && !isSwitchingOver(role, event.atUnixUs)) {
    return askToKeep(guest, role, event.atUnixUs);
  }
  const delayMs = role.keep === "deferred" ? READ_SWITCHOVER_AGAIN_MS : READ_KEEP_AGAIN_MS;
  return step(guest, [{ kind: "setTimer", timer: "readKeepAgain", delayMs }]);
}

/**
 * The transfer can no longer end with a switch: journaled once, and the guest is this side's under any later epoch.
 * A guest that the switchover had stopped stays so until the destination is fenced and the coordinator says so.
 */
export function keepGuest(
  guest: Guest,
  role: Outgoing,
  first: readonly GuestOperation[] = [],
  then: readonly GuestOperation[] = [],
): Step {
  const { fence } = guest;
  const runState = role.runStateBefore;
  const cpuState = guest.cpus.kind === "running" ? CpuState.RUNNING : CpuState.STOPPED;
  const stoppedBy = role.stop !== null && runState === "running" ? stopperOf(role.stop) : "owner";
  const kept = step({ ...guest, role: { ...RESIDENT, stoppedBy } }, [
    ...first,
    { kind: "journal", word: { kind: "kept", fence, runState, cpus: guest.cpus.kind } },
    ...then,
    told({ $case: "kept", value: { runState, cpuState } }),
  ]);
  return insisting(kept, { ...guest, role: { ...role, keep: "decided" } });
}

function stopperOf({ cause }: SwitchoverStop): Resident["stoppedBy"] {
  return cause === "unread" ? "unread" : "switchover";
}

function isInPostCopy({ migration }: Guest): boolean {
  return migration?.transferStatus.startsWith("postcopy-") ?? false;
}
