import { invalidArgument } from "../../proto/error.ts";
import type { DrainHostRequest, DrainSpec } from "../../proto/gen/switchover/v1/drain.ts";
import type { MigrationSpec } from "../../proto/gen/switchover/v1/migration.ts";
import { type HostId, parseHostId } from "../../proto/ids.ts";
import { parseStartMigration } from "../migration-request.ts";

/** What a caller asks for, validated. */
export interface DrainRequest {
  readonly requestId: string;
  readonly hostId: HostId;
  readonly spec: DrainSpec;
}

const DESTINATIONS_AT_MOST = 64;
const PARALLEL_AT_MOST = 100;
const ATTEMPTS_AT_MOST = 10;
const GIVE_UP_AFTER_AT_MOST_MS = 604_800_000;

/** What a zero in the spec stands for. */
export const DRAIN_DEFAULTS = { maxParallel: 2, attempts: 3, giveUpAfterMs: 3_600_000 };

/** Every field of the request, checked; INVALID_ARGUMENT names the first that can never be right. */
export function parseDrainHost({ requestId, spec }: DrainHostRequest): DrainRequest {
  if (spec === undefined) throw invalidArgument("spec", "What to drain is required.", "REQUIRED");
  const hostId = parseHostId(spec.hostId, "spec.host_id");
  checkDestinations(spec);
  checkCount("spec.max_parallel", spec.maxParallel, PARALLEL_AT_MOST);
  checkCount("spec.attempts", spec.attempts, ATTEMPTS_AT_MOST);
  checkCount("spec.give_up_after_ms", spec.giveUpAfterMs, GIVE_UP_AFTER_AT_MOST_MS);
  // The rest is what every one of its migrations will ask for, under the same names.
  const migration = migrationSpecOf(spec, "drain", "guest", spec.destinationHostIds[0] ?? "");
  parseStartMigration({ requestId, spec: migration, validateOnly: true });
  return { requestId, hostId, spec };
}

/** What one guest's migration asks for; it is found by the label `drain`. */
export function migrationSpecOf(
  spec: DrainSpec,
  drainId: string,
  guestId: string,
  destinationHostId: string,
): MigrationSpec {
  const { hostId, mode, transfer, postCopy, priority, deadline } = spec;
  return {
    guestId,
    sourceHostId: hostId,
    sourceInstanceId: "",
    destinationHostId,
    destinationInstanceId: "",
    mode,
    transfer,
    postCopy,
    labels: { drain: drainId },
    priority,
    deadline,
  };
}

function checkDestinations({ hostId, destinationHostIds }: DrainSpec): void {
  const field = "spec.destination_host_ids";
  if (destinationHostIds.length === 0) {
    throw invalidArgument(field, "At least one destination is required.", "REQUIRED");
  }
  if (destinationHostIds.length > DESTINATIONS_AT_MOST) {
    throw invalidArgument(
      field,
      `At most ${DESTINATIONS_AT_MOST} destinations may be given.`,
      "OUT_OF_RANGE",
    );
  }
  destinationHostIds.forEach((destinationHostId, index) => {
    const each = `${field}[${index}]`;
    parseHostId(destinationHostId, each);
    if (destinationHostId === hostId) {
      throw invalidArgument(each, "A host is not drained to itself.", "SAME_HOST");
    }
    if (destinationHostIds.indexOf(destinationHostId) !== index) {
      throw invalidArgument(each, `Host ${destinationHostId} is given twice.`, "DUPLICATE");
    }
  });
}

function checkCount(field: string, value: number, atMost: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= atMost) return;
  throw invalidArgument(field, `${value} is not a whole number from 0 to ${atMost}.`, "OUT_OF_RANGE");
}
