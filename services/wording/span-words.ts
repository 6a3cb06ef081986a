import { SpanKind } from "../../proto/gen/switchover/v1/receipt.ts";

/** What a person calls each window of a switchover. */
export const SPAN_WORDS: ReadonlyMap<SpanKind, string> = new Map([
  [SpanKind.BLACKOUT, "CPUs stood still"],
  [SpanKind.DEREGISTRATION, "stop seen until deregistered"],
  [SpanKind.HAND_OFF, "hand-off on its way"],
  [SpanKind.REGISTRATION, "hand-off received until registered"],
  [SpanKind.UNREGISTERED, "MAC on neither host"],
  [SpanKind.DUPLICATE, "MAC on both hosts"],
  [SpanKind.START, "ready and handed off until cont"],
  [SpanKind.ADDED, "added to the VMM's own stop"],
  [SpanKind.ANNOUNCEMENT, "RESUME until announced"],
  [SpanKind.SILENCE, "STOP until the guest's first frame"],
]);
