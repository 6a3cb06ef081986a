import type { Drain } from "../../proto/gen/switchover/v1/drain.ts";
import type { HostId } from "../../proto/ids.ts";
import { hostDraining, isDrainOpen } from "./drain-record.ts";

/**
 * The hosts that are being drained, as far as this coordinator has heard: no guest is to go to one. A request that comes
 * within the moment in which a new drain is heard of is not refused.
 */
export class DrainingHosts {
  readonly #open = new Map<string, Drain>();
  readonly #listeners = new Set<() => void>();

  hear(drain: Drain): void {
    const hostId = drain.spec?.hostId ?? "";
    const before = this.#open.get(hostId)?.drainId;
    if (isDrainOpen(drain)) this.#open.set(hostId, drain);
    else this.#open.delete(hostId);
    if (this.#open.get(hostId)?.drainId !== before) for (const listener of this.#listeners) listener();
  }

  /** The drains under way, as they stood when they were heard of last. */
  open(): Iterable<Drain> {
    return this.#open.values();
  }

  isDraining(hostId: string): boolean {
    return this.#open.has(hostId);
  }

  /** Calls `listener` whenever a drain begins or ends. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** FAILED_PRECONDITION / HOST_DRAINING where the host is on its way to be empty; `field` names it in the request. */
  checkDestination(hostId: HostId, field: string): void {
    const drain = this.#open.get(hostId);
    if (drain !== undefined) throw hostDraining(hostId, drain.drainId, field);
  }
}
