import type { Drain } from "../../proto/gen/switchover/v1/drain.ts";
import type { HostId } from "../../proto/ids.ts";
import { hostDraining, isDrainOpen } from "./drain-record.ts";

/**
 * The hosts that are being drained, as far as this coordinator has heard: no guest is to go to one. A request that comes
 * within the moment in which a new drain is heard of is not refused.
 */
export class DrainingHosts {
  readonly #drainIds = new Map<string, string>();
  readonly #listeners = new Set<() => void>();

  hear({ drainId, spec, ...state }: Drain): void {
    const hostId = spec?.hostId ?? "";
    const before = this.#drainIds.get(hostId);
    if (isDrainOpen(state)) this.#drainIds.set(hostId, drainId);
    else this.#drainIds.delete(hostId);
    if (this.#drainIds.get(hostId) !== before) for (const listener of this.#listeners) listener();
  }

  isDraining(hostId: string): boolean {
    return this.#drainIds.has(hostId);
  }

  /** Calls `listener` whenever a drain begins or ends. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** FAILED_PRECONDITION / HOST_DRAINING where the host is on its way to be empty; `field` names it in the request. */
  checkDestination(hostId: HostId, field: string): void {
    const drainId = this.#drainIds.get(hostId);
    if (drainId !== undefined) throw hostDraining(hostId, drainId, field);
  }
}
