import { DEVICE_TYPE_FIELDS } from "../../agent/device/device-types.ts";
import { deviceCapability, rpcCapability } from "../../proto/agent-capabilities.ts";
import { HostAgentServiceService } from "../../proto/gen/switchover/v1/host_agent_service.ts";

/** What this agent tells of itself: every call that it serves, and every kind of NIC; sorted. */
export const AGENT_CAPABILITIES: readonly string[] = [
  ...Object.values(HostAgentServiceService).map(({ path }) => rpcCapability(path.split("/").at(-1) ?? "")),
  ...DEVICE_TYPE_FIELDS.map(deviceCapability),
].sort();
