import { type Migration, Phase, type QueuePlace } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId } from "../../proto/ids.ts";
import { completeState, withMigration } from "../migration/complete-state.ts";
import type { AdmissionLimits } from "./admission-limits.ts";
import type { AdmissionPort } from "./admission-port.ts";
import type { Standing } from "./plan-admission.ts";
import type { Route } from "./slot-table.ts";

/** Where a waiting migration stands, in the words of the contract. */
export function queuePlaceOf(
  { sourceHostId, destinationHostId }: Route,
  { waitsFor, position }: Standing,
  limits: AdmissionLimits,
): QueuePlace {
  switch (waitsFor) {
    case "drain": {
      const reason = `Host ${destinationHostId}, its destination, is being drained.`;
      return { position, reasonCode: "HOST_DRAINING", reason };
    }
    case "source": {
      const reason = `Host ${sourceHostId} is the source of ${limits.perSource} migrations, which is the limit.`;
      return { position, reasonCode: "SOURCE_HOST_BUSY", reason };
    }
    case "destination": {
      const reason = `Host ${destinationHostId} is the destination of ${limits.perDestination} migrations, which is the limit.`;
      return { position, reasonCode: "DESTINATION_HOST_BUSY", reason };
    }
    case "all": {
      const reason = `${limits.inAll} migrations are under way, which is the limit.`;
      return { position, reasonCode: "ALL_BUSY", reason };
    }
    case "turn":
      return { position, reasonCode: "ITS_TURN", reason: "Migrations before it are about to begin." };
  }
}

/** The place for a person: "number 3 in line". */
export function queueSentence({ position, reason }: QueuePlace): string {
  return `It is number ${position} in line: ${reason}`;
}

/** The record of a migration that was just asked for and is to wait: the feed tells why, with its first phase. */
export function claimedInLine(record: GuestRecord, place: QueuePlace): GuestRecord {
  if (record.migration === undefined) return record;
  const state = completeState(record.migration);
  const reason = queueSentence(place);
  const phases = state.migration.phases.map((entry) => ({ ...entry, reason }));
  return { ...record, migration: withMigration(state, { phases, reason, reasonCode: place.reasonCode }) };
}

/** The migration as callers are shown it while it waits. */
export function withQueuePlace(migration: Migration, admission: Pick<AdmissionPort, "placeOf">): Migration {
  if (migration.phase !== Phase.PENDING) return migration;
  const guestId = (migration.spec?.guestId ?? "") as GuestId;
  const place = admission.placeOf(guestId, migration.migrationId);
  if (place === null) return migration;
  return {
    ...migration,
    reasonCode: place.reasonCode,
    reason: queueSentence(place),
    queuePlace: place,
  };
}
