import type { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import type { Notice } from "../page/wire.ts";
import { unixMs } from "./migration-row.ts";

/** What of an event a person should know beside phases; undefined for what goes as it should. `id` is its message's. */
export function noticeOf(id: string, said: FeedEvent): Notice | undefined {
  const told = tell(said.event);
  if (told === undefined) return undefined;
  return {
    id,
    atMs: unixMs(said.atUnixUs),
    host: said.hostId,
    guest: said.guestId,
    migration: said.migrationId,
    ...told,
  };
}

type Told = Pick<Notice, "kind" | "reason" | "sentence">;

function tell(event: FeedEvent["event"]): Told | undefined {
  switch (event?.$case) {
    case "alarmRaised":
      return { kind: "alarm", reason: event.value.reason, sentence: event.value.sentence };
    case "registrationDrifted":
      return { kind: "drift", reason: event.value.reason, sentence: event.value.sentence };
    case "registrationMended":
      return { kind: "mended", reason: "", sentence: "The registration is in the kernel again." };
    case "vmmLost":
      return { kind: "note", reason: "VMM_LOST", sentence: event.value.sentence };
    case "handedBack":
      return { kind: "note", reason: "HANDED_BACK", sentence: event.value.sentence };
    case "handOffAwaited":
      return {
        kind: "note",
        reason: "HAND_OFF_AWAITED",
        sentence: `The source's word has been waited for ${event.value.waitedMs} ms.`,
      };
    case "transferStalled":
      return {
        kind: "note",
        reason: "TRANSFER_STALLED",
        sentence: `No bytes moved for ${event.value.stalledForMs} ms.`,
      };
    default:
      return undefined;
  }
}
