import { invalidArgument } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  BeginTransferRequest,
  BeginTransferResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { Host } from "../host.ts";
import { admitMigrationCall } from "./migration-call.ts";
import { requireArmed } from "./require-armed.ts";

const INCOMING_URI = /^tcp:(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[1-9][0-9]{0,4}$/;

export async function beginTransfer(
  host: Host,
  request: BeginTransferRequest,
): Promise<BeginTransferResponse> {
  if (!INCOMING_URI.test(request.incomingUri)) {
    throw invalidArgument(
      "incoming_uri",
      "The URI must be one that PrepareDestination returned (tcp:ADDRESS:PORT).",
    );
  }
  const { instance, adopted, fence } = admitMigrationCall(host, request);
  requireArmed(adopted.runner.guest, fence);
  if (instance.transfer === "begun") return { applied: Applied.ALREADY_SO };
  await adopted.vmm.migrate(request.incomingUri);
  instance.transfer = "begun";
  return { applied: Applied.CHANGED };
}
