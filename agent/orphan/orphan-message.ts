import {
  OrphanKind,
  type Orphan as OrphanMessage,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { Orphan } from "./find-orphans.ts";

/** An orphan as the contract shows it. */
export function toOrphanMessage(orphan: Orphan): OrphanMessage {
  return {
    kind: orphan.kind === "device" ? OrphanKind.DEVICE : OrphanKind.FDB_ENTRY,
    deviceName: orphan.deviceName,
    interfaceIndex: orphan.ifindex,
    bridge: orphan.bridge ?? "",
    macAddress: orphan.kind === "fdbEntry" ? orphan.macAddress : "",
  };
}
