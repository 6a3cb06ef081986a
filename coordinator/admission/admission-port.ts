import type { QueuePlace } from "../../proto/gen/switchover/v1/migration.ts";
import type { GuestId } from "../../proto/ids.ts";
import type { CompleteState } from "../migration/complete-state.ts";
import type { MigrationRequest } from "../record/guest-record.ts";
import type { StoredRecord } from "../record/record-store.ts";

/** Who stands for a migration at the door: the coordinator that it was asked of, or one that took it over. */
export type Standby = "asked here" | "taken over";

/** The door between PENDING and PREPARING. */
export interface AdmissionPort {
  /**
   * Calls `onAdmitted` once, when the turn of a migration in PENDING has come; the returned function ends the waiting
   * here, and the migration keeps its place.
   */
  enter(state: CompleteState, standby: Standby, onAdmitted: () => void): () => void;
  /** Takes each guest's record as somebody commits it; never throws, never waits. */
  hear(stored: StoredRecord): void;
  /** Where a migration in PENDING stands; null where it is not kept waiting, as far as is known here. */
  placeOf(guestId: GuestId, migrationId: string): QueuePlace | null;
  /** The place that a request would get; null where it would begin at once. RESOURCE_EXHAUSTED / QUEUE_FULL. */
  foretell(request: MigrationRequest): QueuePlace | null;
  /** Calls `listener` when the place of the guest's waiting migration has changed; the returned function ends that. */
  observe(guestId: GuestId, listener: () => void): () => void;
}

/** Admits everybody at once. */
export const OPEN_DOOR: AdmissionPort = {
  enter: (_state, _standby, onAdmitted) => {
    onAdmitted();
    return () => undefined;
  },
  hear: () => undefined,
  placeOf: () => null,
  foretell: () => null,
  observe: () => () => undefined,
};
