import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import { feedSubject } from "../../proto/subjects.ts";

/** Where a host's agent says something about a migration, or about a guest outside one (`migrationId` empty). */
export function subjectOf(
  { guestId, migrationId }: Pick<FeedEvent, "guestId" | "migrationId">,
  hostId: HostId,
): string {
  const topic =
    migrationId === ""
      ? { t: "guest" as const, guestId: guestId as GuestId }
      : { t: "migration" as const, migrationId: migrationId as MigrationId };
  return feedSubject(topic, { t: "host", hostId });
}
