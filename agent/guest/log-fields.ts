import type { LogFields } from "../log.ts";
import type { Guest } from "./guest.ts";

/** What every log line about an instance is found by. */
export function logFieldsOf(guest: Guest): LogFields {
  const fields = {
    guest_id: guest.guestId,
    host_id: guest.hostId,
    instance_id: guest.instanceId,
    epoch: String(guest.fence.epoch),
  };
  return guest.migration === null ? fields : { migration_id: guest.migration.migrationId, ...fields };
}
