import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  ReleaseSourceRequest,
  ReleaseSourceResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId, parseInstanceId } from "../../proto/ids.ts";
import type { Host } from "../host.ts";
import { admitMigrationCall, requireFence } from "./migration-call.ts";

export async function releaseSource(
  host: Host,
  request: ReleaseSourceRequest,
): Promise<ReleaseSourceResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const instanceId = parseInstanceId(request.instanceId, "instance_id");
  requireFence(request.fence);
  if (host.instances.find(guestId, instanceId) === undefined) return { applied: Applied.ALREADY_SO };
  const { instance, adopted, fence } = admitMigrationCall(host, request);
  const { role } = adopted.runner.guest;
  if (role.kind !== "relinquished" && role.kind !== "forgotten") {
    throw new SwitchoverError("FAILED_PRECONDITION", "This instance has not handed the guest off.", {
      reason: "NOT_HANDED_OFF",
      field: "instance_id",
    });
  }
  if (role.released === "released") {
    await instance.journal.sync();
    return { applied: Applied.ALREADY_SO };
  }
  adopted.runner.order({ kind: "releaseOrdered", atUnixUs: host.ports.clock.unixUs(), fence });
  await instance.journal.sync();
  return { applied: Applied.CHANGED };
}
