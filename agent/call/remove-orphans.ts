import type {
  RemoveOrphansRequest,
  RemoveOrphansResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseDeviceName } from "../device/nic-definition.ts";
import type { Host } from "../host.ts";
import { toOrphanMessage } from "../orphan/orphan-message.ts";

/** What a process holds open stays: it may be the VMM of a guest that this agent was never told about. */
export async function removeOrphans(
  host: Host,
  request: RemoveOrphansRequest,
): Promise<RemoveOrphansResponse> {
  const names = new Set(
    request.deviceNames.map((name, index) => parseDeviceName(name, `device_names[${index}]`)),
  );
  const wanted = host.orphans
    .list()
    .filter(({ deviceName, use }) => use === "free" && (names.size === 0 || names.has(deviceName)));
  const removed = request.validateOnly ? wanted : await host.orphans.remove(wanted);
  return { orphans: removed.map(toOrphanMessage) };
}
