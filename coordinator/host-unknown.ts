import { SwitchoverError } from "../proto/error.ts";
import type { HostId } from "../proto/ids.ts";

/** For a host that no agent speaks for; `field` names it in the request. */
export function hostUnknown(hostId: HostId, field: string): SwitchoverError {
  return new SwitchoverError("NOT_FOUND", `No agent speaks for host ${hostId}.`, {
    reason: "HOST_UNKNOWN",
    field,
    metadata: { host_id: hostId },
  });
}
