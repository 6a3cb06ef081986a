import { compareFences, type Fence } from "../../proto/epoch.ts";
import type { Guest } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import type { GuestFeedEvent, GuestOperation } from "./guest-operation.ts";

/** What an event makes of a guest: its next state, and what is to be done for it, in order. */
export interface Step {
  readonly guest: Guest;
  readonly operations: readonly GuestOperation[];
  /**
   * What the event makes of the guest where the journal does not take the step's word: all that happened is believed,
   * the right to run stays where it was, and the word is tried again later. An order needs none: it is refused.
   */
  readonly unjournaled?: Omit<Step, "unjournaled">;
}

/** A full disk may have room again at any time. */
const WORD_AGAIN_MS = 100;

export function step(guest: Guest, operations: readonly GuestOperation[] = []): Step {
  return { guest, operations };
}

/** A step whose word waits for the journal if it must, with the guest as it is meanwhile. */
export function insisting(next: Step, meanwhile: Guest, operations: readonly GuestOperation[] = []): Step {
  const again: GuestOperation = { kind: "setTimer", timer: "wordAgain", delayMs: WORD_AGAIN_MS };
  return { unjournaled: step(meanwhile, [...operations, again]), ...next };
}

/** The step with operations done before its own. */
export function after(operations: readonly GuestOperation[], next: Step): Step {
  return operations.length === 0 ? next : { ...next, operations: [...operations, ...next.operations] };
}

/** A newer fence counts once it is journaled: what is older comes too late, also after a restart. */
export function raiseFence(guest: Guest, fence: Fence): Step {
  if (compareFences(fence, guest.fence) <= 0) return step(guest);
  return step({ ...guest, fence }, [{ kind: "journal", word: { kind: "fenceSeen", fence } }]);
}

/** Of what is registered. */
export function deregistration({ registration }: Guest): readonly GuestOperation[] {
  return registration === "registered" ? [{ kind: "deregisterNics" }] : [];
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
