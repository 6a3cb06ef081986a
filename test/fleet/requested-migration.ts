import type { Client } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { MigrationMode, MigrationSpec } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import type { PreparedGuest } from "./fleet-message.ts";

const ASK_WITHIN_MS = 5_000;

export type FleetMode = "live" | "post-copy";

/** Post-copy at once. */
export function specOf(guest: PreparedGuest, mode: FleetMode): MigrationSpec {
  const { destinationHostId, guestId, sourceHostId } = guest;
  return MigrationSpec.fromPartial({
    guestId,
    sourceHostId,
    sourceInstanceId: `${guestId}-a`,
    destinationHostId,
    destinationInstanceId: `${guestId}-b`,
    mode: mode === "live" ? MigrationMode.LIVE : MigrationMode.POST_COPY,
  });
}

/** Asks for the migration, once; its id. */
export async function requestMigration(
  client: Client,
  requestId: string,
  spec: MigrationSpec,
): Promise<string> {
  const request = { requestId, spec };
  const { migration } = await callUnary(client, methods.startMigration, request, {
    timeoutMs: ASK_WITHIN_MS,
  });
  if (migration === undefined) {
    throw new SwitchoverError("INTERNAL", "The answer names no migration.", { reason: "EMPTY_ANSWER" });
  }
  return migration.migrationId;
}
