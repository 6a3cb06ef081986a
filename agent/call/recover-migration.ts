import { invalidArgument, SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  RecoverMigrationRequest,
  RecoverMigrationResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { Host } from "../host.ts";
import { isIncomingUri, laterUris } from "../vmm/migration-address.ts";
import { admitMigrationCall, type MigrationCall } from "./migration-call.ts";

/** Ports that are tried after the one that the transfer came in by. */
const OTHER_PORTS = 8;
const PAUSED_WITHIN_MS = 2_000;

/**
 * `migrate-recover` at the destination, which must name its port, for its main loop may be stuck in a page fault and then
 * nobody can ask; `migrate` with `resume` at the source. Neither is a switchover: nothing is registered or started.
 */
export async function recoverMigration(
  host: Host,
  request: RecoverMigrationRequest,
): Promise<RecoverMigrationResponse> {
  if (request.recoveryUri !== "" && !isIncomingUri(request.recoveryUri)) throw notARecoveryUri();
  const call = admitMigrationCall(host, request);
  const { migration } = call.adopted.runner.guest;
  const status = migration?.transferStatus ?? "none";
  if (call.adopted.source.kind === "external") return recoverByOwner(call, status);
  return migration?.side === "source"
    ? recoverSource(call, status, request.recoveryUri)
    : recoverDestination(call, status);
}

/** Where the stream is connected anew is between the owners of both VMMs. */
async function recoverByOwner({ adopted }: MigrationCall, status: string): Promise<RecoverMigrationResponse> {
  if (status.startsWith("postcopy-recover")) return { applied: Applied.ALREADY_SO, recoveryUri: "" };
  if (status !== "postcopy-active") requirePaused(status);
  await adopted.vmm.migrateRecover("");
  return { applied: Applied.CHANGED, recoveryUri: "" };
}

async function recoverSource(
  { instance, adopted }: MigrationCall,
  status: string,
  recoveryUri: string,
): Promise<RecoverMigrationResponse> {
  if (recoveryUri === "") throw notARecoveryUri();
  const isUnderWay = status === "postcopy-active" && instance.recoveryUri === recoveryUri;
  if (status.startsWith("postcopy-recover") || isUnderWay)
    return { applied: Applied.ALREADY_SO, recoveryUri };
  // The destination's stream is broken, and this side has not seen it.
  if (status === "postcopy-active") await breakStream(adopted);
  else requirePaused(status);
  await adopted.vmm.migrateResume(recoveryUri);
  instance.recoveryUri = recoveryUri;
  return { applied: Applied.CHANGED, recoveryUri };
}

function notARecoveryUri(): SwitchoverError {
  return invalidArgument(
    "recovery_uri",
    "The URI must be one that the destination's RecoverMigration returned.",
  );
}

async function recoverDestination(
  { instance, adopted }: MigrationCall,
  status: string,
): Promise<RecoverMigrationResponse> {
  const known = instance.recoveryUri ?? instance.incomingUri;
  if (known === null) {
    throw new SwitchoverError("FAILED_PRECONDITION", "This instance is not the destination of a transfer.", {
      reason: "NOT_DESTINATION",
      field: "instance_id",
    });
  }
  if (status.startsWith("postcopy-recover")) return { applied: Applied.ALREADY_SO, recoveryUri: known };
  if (status === "postcopy-active") await breakStream(adopted);
  else requirePaused(status);
  // It listens already, and would refuse to be told so twice.
  if (instance.recoveryUri !== null)
    return { applied: Applied.ALREADY_SO, recoveryUri: instance.recoveryUri };
  let refusal: SwitchoverError | undefined;
  for (const uri of laterUris(instance.incomingUri ?? known, OTHER_PORTS)) {
    try {
      await adopted.vmm.migrateRecover(uri);
      instance.recoveryUri = uri;
      return { applied: Applied.CHANGED, recoveryUri: uri };
    } catch (thrown) {
      refusal = SwitchoverError.from(thrown);
      if (refusal.reason !== "QMP_REFUSED") throw refusal;
      if (isListening(refusal)) return { applied: Applied.ALREADY_SO, recoveryUri: uri };
    }
  }
  throw refusal ?? notPaused(status);
}

/** Where the network only swallows packets, a side does not see that its stream is broken. */
async function breakStream({ runner, vmm }: MigrationCall["adopted"]): Promise<void> {
  await vmm.migratePause();
  await runner.waitUntil(
    ({ migration }) => migration?.transferStatus === "postcopy-paused",
    PAUSED_WITHIN_MS,
    "the VMM to pause the transfer",
  );
}

/** QEMU's words for a destination that listens for its recovery already: paused as it last said, and no longer so. */
function isListening({ metadata }: SwitchoverError): boolean {
  const { desc = "" } = metadata;
  return desc.includes("triggered already") || desc.includes("only be run when postcopy is paused");
}

function requirePaused(status: string): void {
  if (status !== "postcopy-paused") throw notPaused(status);
}

function notPaused(status: string): SwitchoverError {
  return new SwitchoverError(
    "FAILED_PRECONDITION",
    `The transfer's status is "${status}"; only a paused one can be recovered.`,
    { reason: "NOT_PAUSED", metadata: { status } },
  );
}
