import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  ArmSourceRequest,
  ArmSourceResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseHostId, parseMigrationId } from "../../proto/ids.ts";
import { checkTransferParameters } from "../../proto/transfer-parameters.ts";
import { holdsRightToRun, type MigrationMode, type PointOfNoReturn } from "../guest/guest.ts";
import { configureTransfer } from "../guest/transfer.ts";
import type { Host } from "../host.ts";
import type { Adopted } from "../instance/instance.ts";
import { saidUnder } from "../journal/said-under.ts";
import type { VmmFeatures } from "../vmm/vmm-features.ts";
import { isStarting } from "./cpus.ts";
import { admitMigrationCall, parseMode } from "./migration-call.ts";
import { requireVmm } from "./require-vmm.ts";
import { transferTls } from "./transfer-tls.ts";

/** An answer may be older than an event that came with it. */
const QUESTIONS_AT_MOST = 8;

/** Journaled and on disk before the answer. */
export async function armSource(host: Host, request: ArmSourceRequest): Promise<ArmSourceResponse> {
  const mode = parseMode(request.mode);
  const { migrationId } = parseMigrationId(request.migrationId, "migration_id");
  const destinationHostId = parseHostId(request.destinationHostId, "destination_host_id");
  if (request.transfer !== undefined) checkTransferParameters(request.transfer, request.mode, "transfer");
  const { instance, adopted, fence } = admitMigrationCall(host, request);
  const { runner, vmm, features } = adopted;
  const { role, migration } = runner.guest;
  if (
    role.kind === "outgoing" &&
    migration?.migrationId === migrationId &&
    runner.guest.fence.epoch === fence.epoch
  ) {
    // The first call may not be through with its sync, and a restarted agent reads what was never synced.
    await instance.journal.sync();
    return { applied: Applied.ALREADY_SO, runState: role.runStateBefore };
  }
  if (saidUnder(instance.journal.entries, fence.epoch, "kept") !== undefined) {
    throw new SwitchoverError("FAILED_PRECONDITION", "The guest was kept under this epoch: it stays.", {
      reason: "KEPT",
      field: "fence.epoch",
    });
  }
  if (!holdsRightToRun(runner.guest)) {
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      "This instance has no right to run, so it cannot give it away.",
      {
        reason: "NOT_OWNER",
        field: "instance_id",
      },
    );
  }
  requireVmm(runner.guest);
  await configureTransfer(vmm, mode, request.transfer, transferTls(host, "source", destinationHostId));
  const runState = await settledRunState(adopted);
  const atUnixUs = host.ports.clock.unixUs();
  instance.devices.rearm();
  instance.transfer = "notBegun";
  runner.dispatch({ kind: "runStateRead", purpose: "stopCause", atUnixUs, runState });
  runner.order({
    kind: "sourceArmed",
    atUnixUs,
    fence,
    migrationId,
    mode,
    destinationHostId,
    pointOfNoReturn: pointOfNoReturn(mode, features),
  });
  await instance.journal.sync();
  return { applied: Applied.CHANGED, runState };
}

/**
 * As QEMU says it, with all heard that QEMU had told before, and no start on its way: an armed guest's NICs are registered
 * for CPUs that run, and nothing else. Throws UNAVAILABLE / RUN_STATE_UNSETTLED.
 */
async function settledRunState({ runner, vmm }: Adopted): Promise<string> {
  for (let question = 0; question < QUESTIONS_AT_MOST; question += 1) {
    const { running, runStateText } = await vmm.queryStatus();
    const { guest } = runner;
    if (running === (guest.cpus.kind === "running") && !isStarting(guest)) return runStateText;
  }
  throw new SwitchoverError("UNAVAILABLE", "The guest's CPUs are being started and stopped: arm it again.", {
    reason: "RUN_STATE_UNSETTLED",
    field: "guest_id",
  });
}

function pointOfNoReturn(mode: MigrationMode, features: VmmFeatures | null): PointOfNoReturn {
  if (mode === "live") return "completed";
  return features?.postcopyDeviceStatus === "known" ? "postcopyActiveAfterStop" : "postcopyActiveTwice";
}
