import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  PauseMigrationRequest,
  PauseMigrationResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { Host } from "../host.ts";
import { admitMigrationCall } from "./migration-call.ts";

/** `migrate-pause`: the stream breaks, the destination keeps the guest, and RecoverMigration mends it. */
export async function pauseMigration(
  host: Host,
  request: PauseMigrationRequest,
): Promise<PauseMigrationResponse> {
  const { adopted } = admitMigrationCall(host, request);
  const status = adopted.runner.guest.migration?.transferStatus ?? "none";
  if (status === "postcopy-paused") return { applied: Applied.ALREADY_SO };
  if (!status.startsWith("postcopy-")) {
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `The transfer's status is "${status}"; only one in post-copy can be paused.`,
      { reason: "NOT_POST_COPY", metadata: { status } },
    );
  }
  await adopted.vmm.migratePause();
  return { applied: Applied.CHANGED };
}
