import { InstantKind } from "../../proto/gen/switchover/v1/migration.ts";

/** What a person calls each step of a switchover; the order is the one in which they happen. */
export const INSTANT_WORDS: ReadonlyMap<InstantKind, string> = new Map([
  [InstantKind.STOPPED, "STOP"],
  [InstantKind.STOP_RECEIVED, "stop seen by agent"],
  [InstantKind.DEREGISTERED, "deregistered"],
  [InstantKind.HANDED_OFF, "handed off"],
  [InstantKind.HAND_OFF_RECEIVED, "hand-off received"],
  [InstantKind.READY, "ready"],
  [InstantKind.REGISTRATION_SENT, "registrations sent"],
  [InstantKind.REGISTERED, "registered, read back"],
  [InstantKind.CONT_SENT, "cont sent"],
  [InstantKind.RESUMED, "RESUME"],
  [InstantKind.ANNOUNCED, "announced"],
  [InstantKind.FIRST_FRAME, "first frame"],
]);
