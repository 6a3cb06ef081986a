import type { DrainRecord } from "../../proto/gen/switchover/v1/drain.ts";
import type { HostId } from "../../proto/ids.ts";
import { watchAnew } from "../runner/watch-anew.ts";
import { type DrainPorts, driveDrain } from "./drain-driver.ts";
import { isDrainOpen } from "./drain-record.ts";
import type { StoredDrain } from "./drain-store.ts";

/** A record that stands still for so long has lost its driver: rounds are shorter, with every host silent too. */
const TAKE_OVER_AFTER_MS = 10_000;
const WATCH_AGAIN_AFTER_MS = 500;

/**
 * The drains that this coordinator drives, and those that it takes over once their record stands still. One at a time
 * drives a drain, by the name that it wrote into the record; a second one would do no harm, for all steps are committed by
 * compare-and-set, and migrations are asked for under request ids that the record holds.
 */
export class DrainRunner {
  readonly #ports: DrainPorts;
  readonly #driver: string;
  readonly #signal: AbortSignal;
  readonly #driven = new Set<HostId>();
  readonly #timers = new Map<HostId, () => void>();
  readonly #observers = new Map<HostId, Set<(record: DrainRecord) => void>>();

  /** `driver` names this run of the coordinator; works until the signal. */
  constructor(ports: DrainPorts, driver: string, signal: AbortSignal) {
    this.#ports = ports;
    this.#driver = driver;
    this.#signal = signal;
    const watch = {
      of: "drains",
      begin: () => ports.store.watch(signal),
      hear: (stored: StoredDrain) => this.#hear(stored),
      againAfterMs: WATCH_AGAIN_AFTER_MS,
    };
    void watchAnew(ports, watch, signal);
  }

  /** Drives the host's drain from here on, if it is open. Idempotent. */
  take(hostId: HostId): void {
    if (this.#driven.has(hostId) || this.#signal.aborted) return;
    this.#driven.add(hostId);
    void driveDrain(this.#ports, hostId, this.#driver, this.#signal).finally(() => {
      this.#driven.delete(hostId);
      this.#takeLater(hostId);
    });
  }

  /** Calls `listener` with each record of the host's drain that somebody commits; the returned function ends that. */
  observe(hostId: HostId, listener: (record: DrainRecord) => void): () => void {
    const listeners = this.#observers.get(hostId) ?? new Set();
    listeners.add(listener);
    this.#observers.set(hostId, listeners);
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#observers.delete(hostId);
    };
  }

  #hear({ record }: StoredDrain): void {
    const hostId = record.hostId as HostId;
    this.#timers.get(hostId)?.();
    this.#timers.delete(hostId);
    if (record.drain === undefined) return;
    this.#ports.draining.hear(record.drain);
    for (const listener of this.#observers.get(hostId) ?? []) listener(record);
    if (isDrainOpen(record.drain)) this.#takeLater(hostId);
  }

  /** Whoever drives it meanwhile is heard, and puts that off. */
  #takeLater(hostId: HostId): void {
    if (this.#signal.aborted || this.#timers.has(hostId)) return;
    const cancel = this.#ports.clock.after(TAKE_OVER_AFTER_MS, () => {
      this.#timers.delete(hostId);
      void this.#takeIfAbandoned(hostId);
    });
    this.#timers.set(hostId, cancel);
  }

  async #takeIfAbandoned(hostId: HostId): Promise<void> {
    try {
      const drain = (await this.#ports.store.get(hostId))?.record.drain;
      if (drain !== undefined && isDrainOpen(drain)) this.take(hostId);
    } catch {
      this.#takeLater(hostId);
    }
  }
}
