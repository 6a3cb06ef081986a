import type { Guest } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import type { GuestFeedEvent, GuestOperation } from "./guest-operation.ts";

/** What an event makes of a guest: its next state, and what is to be done for it, in order. */
export interface Step {
  readonly guest: Guest;
  readonly operations: readonly GuestOperation[];
}

export function step(guest: Guest, operations: readonly GuestOperation[] = []): Step {
  return { guest, operations };
}

export function told(event: GuestFeedEvent): GuestOperation {
  return { kind: "publish", event };
}

export function alarm(reason: string, sentence: string): GuestOperation {
  return told({ $case: "alarmRaised", value: { reason, sentence, metadata: {} } });
}

type Heard<Kind extends GuestEvent["kind"]> = Extract<GuestEvent, { readonly kind: Kind }>;

export function cpusStopped(event: Heard<"cpusStopped">): GuestFeedEvent {
  return {
    $case: "cpusStopped",
    value: { stoppedAtUnixUs: BigInt(event.stoppedAtUnixUs), receivedAtUnixUs: BigInt(event.atUnixUs) },
  };
}

export function cpusStarted(guest: Guest, event: Heard<"cpusResumed">): GuestFeedEvent {
  const { role } = guest;
  const contSentAtUnixUs =
    role.kind === "resident" || role.kind === "incoming" ? role.contSentAtUnixUs : null;
  return {
    $case: "cpusStarted",
    value: {
      contSentAtUnixUs: BigInt(contSentAtUnixUs ?? 0),
      resumedAtUnixUs: BigInt(event.resumedAtUnixUs),
    },
  };
}
