import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  PrepareDestinationRequest,
  PrepareDestinationResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseHostId, parseMigrationId } from "../../proto/ids.ts";
import { checkTransferParameters } from "../../proto/transfer-parameters.ts";
import { configureTransfer, openIncoming, requireInmigrate } from "../guest/transfer.ts";
import type { Host } from "../host.ts";
import type { Adopted } from "../instance/instance.ts";
import { saidUnder } from "../journal/said-under.ts";
import { admitMigrationCall, parseMode } from "./migration-call.ts";
import { requireVmm } from "./require-vmm.ts";
import { transferTls } from "./transfer-tls.ts";

/** Journaled and on disk before the VMM is touched and before the answer. */
export async function prepareDestination(
  host: Host,
  request: PrepareDestinationRequest,
): Promise<PrepareDestinationResponse> {
  const mode = parseMode(request.mode);
  const { migrationId } = parseMigrationId(request.migrationId, "migration_id");
  const sourceHostId = parseHostId(request.sourceHostId, "source_host_id");
  if (request.transfer !== undefined) checkTransferParameters(request.transfer, request.mode, "transfer");
  const { instance, adopted, fence } = admitMigrationCall(host, request);
  const { runner, vmm } = adopted;
  const { role, migration } = runner.guest;

  const isThisOnes = role.kind === "incoming" && migration?.migrationId === migrationId;
  if (isThisOnes && instance.incomingUri !== null && runner.guest.fence.epoch === fence.epoch) {
    const { incomingUri } = instance;
    await instance.journal.sync();
    return { applied: Applied.ALREADY_SO, incomingUri };
  }
  // What was told to start its guest is no VMM that waits for one, whoever claims it.
  const isUnstarted = role.kind === "incoming" && role.contSentAtUnixUs === null;
  const isLeftBehind = isUnstarted && (isThisOnes || fence.epoch > runner.guest.fence.epoch);
  if (saidUnder(instance.journal.entries, fence.epoch, "handedBack") !== undefined) {
    throw new SwitchoverError("FAILED_PRECONDITION", "The guest was handed back under this epoch.", {
      reason: "HANDED_BACK",
      field: "fence.epoch",
    });
  }
  if (role.kind !== "vacant" && !isLeftBehind) {
    throw new SwitchoverError("FAILED_PRECONDITION", "This instance does not wait for an incoming guest.", {
      reason: "NOT_INCOMING",
      field: "instance_id",
      metadata: { role: role.kind },
    });
  }
  requireVmm(runner.guest);
  instance.awaitHandOff();
  runner.order({
    kind: "destinationPrepared",
    atUnixUs: host.ports.clock.unixUs(),
    fence,
    migrationId,
    mode,
    sourceHostId,
    bootId: host.ports.bootId,
  });
  await instance.journal.sync();
  instance.devices.rearm();
  await configureTransfer(vmm, mode, request.transfer, transferTls(host, "destination", sourceHostId));
  instance.incomingUri = await incomingUriOf(adopted, host.ports.migrationAddress);
  instance.recoveryUri = null;
  instance.note({ kind: "incomingOpened", fence, incomingUri: instance.incomingUri });
  return { applied: Applied.CHANGED, incomingUri: instance.incomingUri };
}

/** An owner has its VMM wait where it likes. */
async function incomingUriOf({ source, vmm }: Adopted, migrationAddress: string): Promise<string> {
  if (source.kind === "qmp") return openIncoming(vmm, migrationAddress);
  await requireInmigrate(vmm);
  return source.incomingUri;
}
