import { SwitchoverError } from "../../proto/error.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  CancelTransferRequest,
  CancelTransferResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import { staleFence } from "../guest/admit-fence.ts";
import { type Guest, holdsRightToRun } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import { newestFenceIn } from "../journal/journal.ts";
import { hasSaid, saidUnder } from "../journal/said-under.ts";
import { admitMigrationCall, type MigrationCall, requireFence } from "./migration-call.ts";
import { wordNotFound } from "./word-forgotten.ts";

/** QEMU's last word on a transfer that it was told to give up takes milliseconds; a hung one is asked for again. */
const LAST_WORD_TIMEOUT_MS = 4_000;

/**
 * By the journal where it has said something under this epoch; else the transfer is given up and QEMU's last word
 * decides. What is answered is on disk. NOT_FOUND / WORD_FORGOTTEN where it may have handed off before the journal began.
 */
export async function cancelTransfer(
  host: Host,
  request: CancelTransferRequest,
): Promise<CancelTransferResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const { epoch } = requireFence(request.fence);
  const journal = host.knownJournalOf(guestId);
  const entries = () => journal?.entries ?? [];
  const newest = newestFenceIn(entries());
  if (newest.epoch > epoch) throw staleFence(guestId, requireFence(request.fence), newest);
  const handedOff = saidUnder(entries(), epoch, "handedOff");
  if (handedOff !== undefined) {
    await journal?.sync();
    return tooLate(handedOff.handOff);
  }
  const call = admitMigrationCall(host, request);
  const { instance, adopted, fence } = call;
  const { runner } = adopted;
  if (runner.guest.role.kind === "forgotten") throw wordNotFound(guestId, epoch);
  requireSource(runner.guest, call);
  if (saidUnder(entries(), epoch, "kept") === undefined) {
    runner.order({ kind: "keepOrdered", atUnixUs: host.ports.clock.unixUs(), fence });
  }
  // Why the CPUs of what was kept before this call stand may not have been read either.
  await runner.waitUntil(
    (guest) => guest.role.kind !== "outgoing" && !isStopUnread(guest),
    LAST_WORD_TIMEOUT_MS,
    "the VMM's last word on the transfer",
  );
  await instance.journal.sync();
  const { role } = runner.guest;
  return role.kind === "relinquished" ? tooLate(role.handOff) : kept(runner.guest);
}

/** A destination that took the guest over has the right to run too, and nothing to keep. */
function requireSource(guest: Guest, { instance, fence }: MigrationCall): void {
  const isDestination = hasSaid(instance.journal.entries, instance.instanceId, fence.epoch, "prepared");
  if (holdsRightToRun(guest) && !isDestination) return;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${guest.instanceId} is not the source of this migration.`,
    { reason: "NOT_SOURCE", field: "instance_id", metadata: { role: guest.role.kind } },
  );
}

function isStopUnread({ cpus, role }: Guest): boolean {
  if (role.kind !== "resident" || cpus.kind === "running") return false;
  return role.stoppedBy === "unread" || cpus.runState === "unread";
}

function tooLate(
  handOff: NonNullable<Extract<CancelTransferResponse["answer"], { $case: "tooLate" }>>["value"]["handOff"],
): CancelTransferResponse {
  return { answer: { $case: "tooLate", value: { handOff } } };
}

/** A guest that the switchover had stopped is one that runs, as far as its owner is concerned. */
function kept({ cpus, role }: Guest): CancelTransferResponse {
  const runs = cpus.kind === "running" || (role.kind === "resident" && role.stoppedBy === "switchover");
  const runState = runs ? "running" : cpus.runState;
  const cpuState = cpus.kind === "running" ? CpuState.RUNNING : CpuState.STOPPED;
  return { answer: { $case: "kept", value: { runState, cpuState } } };
}
