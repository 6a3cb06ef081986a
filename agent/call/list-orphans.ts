import type {
  ListOrphansRequest,
  ListOrphansResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { Host } from "../host.ts";
import { toOrphanMessage } from "../orphan/orphan-message.ts";

export async function listOrphans(host: Host, _request: ListOrphansRequest): Promise<ListOrphansResponse> {
  return { orphans: (await host.orphans.list()).map(toOrphanMessage) };
}
