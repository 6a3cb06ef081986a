import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import { MigrationMode, MigrationSpec } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import type { PreparedGuest } from "./fleet-message.ts";

const ASK_WITHIN_MS = 5_000;
const REPEAT_AFTER_MS = 100;
/** However often it was repeated. */
const REPEAT_AT_LEAST_MS = 2_000;
/** Whoever asks again later may be answered. */
const PASSING: ReadonlySet<string> = new Set([
  "UNAVAILABLE",
  "DEADLINE_EXCEEDED",
  "CANCELLED",
  "ABORTED",
  "RESOURCE_EXHAUSTED",
]);

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

export interface Requested {
  readonly migrationId: string;
  /** How often the question had no answer, or was refused for now, and was put again. */
  readonly repeats: number;
}

/**
 * Asks for the migration as a control plane does: of one coordinator after another, until one answers or `givenUp`.
 * Rejects with what is no matter of time.
 */
export async function requestMigration(
  clients: readonly Client[],
  requestId: string,
  spec: MigrationSpec,
  givenUp: () => boolean = () => false,
  traceparent?: string,
): Promise<Requested> {
  for (let repeats = 0; ; repeats += 1) {
    const client = clients[repeats % clients.length];
    if (client === undefined) throw new Error("There is no coordinator.");
    try {
      const call = {
        timeoutMs: ASK_WITHIN_MS,
        trace: traceparent === undefined ? undefined : { traceparent },
      };
      const { migration } = await callUnary(
        client,
        methods.startMigration,
        { requestId, spec, validateOnly: false },
        call,
      );
      if (migration !== undefined) return { migrationId: migration.migrationId, repeats };
    } catch (thrown) {
      if (givenUp() || !PASSING.has(SwitchoverError.from(thrown).code)) throw thrown;
    }
    await delay(Math.min(REPEAT_AFTER_MS * 2 ** repeats, REPEAT_AT_LEAST_MS));
  }
}
