import { invalidArgument } from "../../proto/error.ts";
import { MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import { type Migration, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationFilter, Standing } from "../../proto/gen/switchover/v1/migration_service.ts";
import { type GuestId, parseGuestId, parseHostId } from "../../proto/ids.ts";
import { parseLabels } from "../labels.ts";
import { isTerminal } from "../migration/phase-edges.ts";
import type { ListPlace } from "./list-order.ts";

const PHASES_AT_MOST = 16;

/** What ListMigrations leaves out, checked. */
export interface ParsedFilter {
  readonly guestId: GuestId | null;
  /** Whether a migration's id tells all that is to be known of it. */
  readonly judgedBy: "id" | "content";
  /** The same bytes for the same filter. */
  readonly bytes: Uint8Array;
  /** False where no migration of this id passes, whatever its content. */
  mayPass(place: ListPlace): boolean;
  passes(migration: Migration): boolean;
}

/** INVALID_ARGUMENT names the first field that can never be right. */
export function parseMigrationFilter(filter: MigrationFilter): ParsedFilter {
  const { hostId, hostRole, standing, requestedAfterUnixUs } = filter;
  const guestId = filter.guestId === "" ? null : parseGuestId(filter.guestId, "filter.guest_id");
  if (hostId !== "") parseHostId(hostId, "filter.host_id");
  else if (hostRole !== MigrationRole.UNSPECIFIED) {
    throw invalidArgument("filter.host_role", "A role is that of a host: host_id is required.", "REQUIRED");
  }
  checkEnum("filter.host_role", hostRole, MigrationRole);
  checkEnum("filter.standing", standing, Standing);
  const phases = new Set(parsePhases(filter.phases));
  const labels = Object.entries(parseLabels(filter.labels, "filter.labels"));
  if (requestedAfterUnixUs < 0n) {
    throw invalidArgument(
      "filter.requested_after_unix_us",
      "A time before 1970 is no request's.",
      "OUT_OF_RANGE",
    );
  }
  const afterMs = Number(requestedAfterUnixUs / 1_000n);
  const judgesContent = hostId !== "" || standing !== Standing.UNSPECIFIED || phases.size > 0;
  return {
    guestId,
    judgedBy: judgesContent || labels.length > 0 || requestedAfterUnixUs > 0n ? "content" : "id",
    bytes: MigrationFilter.encode({
      ...filter,
      phases: [...phases].sort((left, right) => left - right),
      labels: Object.fromEntries(labels),
    }).finish(),
    mayPass: (place) => (guestId === null || place.guestId === guestId) && place.requestedAtUnixMs >= afterMs,
    passes: (migration) =>
      (guestId === null || migration.spec?.guestId === guestId) &&
      (hostId === "" || isOfHost(migration, hostId, hostRole)) &&
      (phases.size === 0 || phases.has(migration.phase)) &&
      (standing === Standing.UNSPECIFIED || standing === standingOf(migration)) &&
      labels.every(([key, value]) => migration.spec?.labels[key] === value) &&
      (requestedAfterUnixUs === 0n || migration.requestedAtUnixUs > requestedAfterUnixUs),
  };
}

function parsePhases(phases: readonly Phase[]): readonly Phase[] {
  if (phases.length > PHASES_AT_MOST) {
    throw invalidArgument(
      "filter.phases",
      `${phases.length} phases are more than ${PHASES_AT_MOST}.`,
      "OUT_OF_RANGE",
    );
  }
  phases.forEach((phase, index) => {
    const field = `filter.phases[${index}]`;
    if (phase === Phase.UNSPECIFIED) throw invalidArgument(field, "No migration is in no phase.", "REQUIRED");
    checkEnum(field, phase, Phase);
  });
  return phases;
}

/** Proto3 lets numbers through that this version has no name for. */
function checkEnum(field: string, value: number, names: Readonly<Record<string, number>>): void {
  if (Object.values(names).includes(value)) return;
  throw invalidArgument(field, `${value} is none of ${Object.keys(names).join(", ")}.`, "UNKNOWN_VALUE");
}

function isOfHost({ spec }: Migration, hostId: string, role: MigrationRole): boolean {
  const isSource = spec?.sourceHostId === hostId;
  const isDestination = spec?.destinationHostId === hostId;
  if (role === MigrationRole.SOURCE) return isSource;
  return role === MigrationRole.DESTINATION ? isDestination : isSource || isDestination;
}

function standingOf({ phase }: Migration): Standing {
  return isTerminal(phase) ? Standing.ENDED : Standing.OPEN;
}
