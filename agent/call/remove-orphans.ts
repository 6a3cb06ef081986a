import { invalidArgument } from "../../proto/error.ts";
import type {
  RemoveOrphansRequest,
  RemoveOrphansResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseDeviceName } from "../device/device-name.ts";
import type { Host } from "../host.ts";
import { toOrphanMessage } from "../orphan/orphan-message.ts";

/** Never all for want of names: a caller that forgot them is refused. What a process holds open stays: it may be the VMM of a guest that this agent was never told about. */
export async function removeOrphans(
  host: Host,
  request: RemoveOrphansRequest,
): Promise<RemoveOrphansResponse> {
  const names = wantedNames(request);
  const wanted = (await host.orphans.list()).filter(
    ({ deviceName, use }) => use === "free" && (names === "all" || names.has(deviceName)),
  );
  const removed = request.validateOnly ? wanted : await host.orphans.remove(wanted);
  return { orphans: removed.map(toOrphanMessage) };
}

function wantedNames({ all, deviceNames }: RemoveOrphansRequest): ReadonlySet<string> | "all" {
  if (all && deviceNames.length > 0) {
    throw invalidArgument("all", "Orphans are either named or all of them, not both.", "NAMES_AND_ALL");
  }
  if (all) return "all";
  if (deviceNames.length === 0) {
    throw invalidArgument("device_names", "Name the orphans to remove, or ask for all of them.", "REQUIRED");
  }
  return new Set(deviceNames.map((name, index) => parseDeviceName(name, `device_names[${index}]`)));
}
