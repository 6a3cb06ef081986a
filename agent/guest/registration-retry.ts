import type { Guest } from "./guest.ts";
import type { GuestTimer } from "./guest-event.ts";
import type { GuestOperation } from "./guest-operation.ts";

/** Retries follow the CPUs as they are when the timer fires, not as they were when it was set. */
export function retriesOf(guest: Guest, timer: GuestTimer): readonly GuestOperation[] {
  if (timer === "retryDeregistration" && guest.cpus.kind === "stopped" && guest.stay.kind === "none") {
    return [{ kind: "deregisterNics" }];
  }
  if (
    timer === "retryRegistration" &&
    guest.cpus.kind === "running" &&
    guest.registration === "quarantined"
  ) {
    return [{ kind: "registerNics" }];
  }
  return [];
}

/** 10 ms, doubled with each failure in a row, at most 1 s. */
export function retryDelayMs(guest: Guest): number {
  return Math.min(10 * 2 ** Math.min(guest.registrationFailures, 7), 1000);
}
