/**
 * Sees what others do to the NICs of this host's guests, and has their gates mend it.
 *
 * What the kernel tells only says where to look: what counts is what the kernel holds when it is read. What a gate made
 * itself agrees with what it says of itself, and is not looked at. A change that was lost may have been any: all
 * instances are looked at then, a few in a turn of the event loop, so that no switchover waits; and some every 10 s, for
 * what nobody told.
 */
import { SwitchoverError } from "../../proto/error.ts";
import type { Clock } from "../clock.ts";
import { deviceTypeOf } from "../device/device-types.ts";
import { sentenceOfDrifts } from "../device/nic-mending.ts";
import type { Instance } from "../instance/instance.ts";
import type { InstanceTable } from "../instance/instance-table.ts";
import type { Log } from "../log.ts";
import type { KernelChange, KernelChanges } from "../netlink/kernel-change.ts";
import { NicIndex } from "./nic-index.ts";

export interface DriftGuardParts {
  readonly changes: KernelChanges;
  readonly instances: InstanceTable;
  readonly clock: Clock;
  readonly log: Log;
}

const AUDIT_MS = 10_000;
/** A host with more instances audits them in several rounds: a hundred microseconds each must stay a fraction of a CPU. */
const INSTANCES_AN_AUDIT = 256;
/** An instance with one NIC takes about 0.1 ms. */
const INSTANCES_A_TURN = 8;

export class DriftGuard {
  readonly #parts: DriftGuardParts;
  readonly #index = new NicIndex();
  /** To be looked at, in order. */
  readonly #doubtful = new Set<Instance>();
  readonly #endWatch: () => void;
  readonly #endObservation: () => void;
  /** How many of all instances the present round of audits has had. */
  #audited = 0;
  #cancelAudit: () => void = () => {};
  #cancelTurn: (() => void) | null = null;
  #state: "open" | "closed" = "open";

  /** Watches from here on. */
  constructor(parts: DriftGuardParts) {
    this.#parts = parts;
    for (const instance of parts.instances.all()) this.#index.add(instance);
    this.#endObservation = parts.instances.observe({
      added: (instance) => this.#index.add(instance),
      removed: (instance) => {
        this.#index.remove(instance);
        this.#doubtful.delete(instance);
      },
      changed: (instance) => {
        this.#index.remove(instance);
        this.#index.add(instance);
      },
    });
    this.#endWatch = parts.changes.watch((changes) => this.#hear(changes));
    this.#auditLater();
  }

  /** Idempotent. */
  close(): void {
    this.#state = "closed";
    this.#endWatch();
    this.#endObservation();
    this.#cancelAudit();
    this.#cancelTurn?.();
  }

  #hear(changes: readonly KernelChange[]): void {
    for (const change of changes) {
      if (change.kind === "overrun") this.#doubtAll();
      else this.#doubt(change);
    }
    this.#look();
  }

  #doubt(change: KernelChange): void {
    for (const { instance, nic } of this.#index.of(change)) {
      const guest = instance.adopted?.runner.guest;
      if (guest === undefined) continue;
      const place = instance.devices.placeOf(nic.nicId);
      const registered = instance.devices.registeredAs(nic.nicId, guest.registration);
      if (deviceTypeOf(nic).mend.hear(nic, place, change, registered) === "mayDiffer") {
        this.#doubtful.add(instance);
      }
    }
  }

  #doubtAll(): void {
    const instances = this.#parts.instances.all();
    this.#parts.log.warn({ instances: instances.length }, "The kernel's notifications overran: all is read.");
    for (const instance of instances) this.#doubtful.add(instance);
  }

  #auditLater(): void {
    this.#cancelAudit = this.#parts.clock.after(AUDIT_MS, () => {
      const instances = this.#parts.instances.all();
      const from = this.#audited < instances.length ? this.#audited : 0;
      for (const instance of instances.slice(from, from + INSTANCES_AN_AUDIT)) this.#doubtful.add(instance);
      this.#audited = from + INSTANCES_AN_AUDIT;
      this.#look();
      this.#auditLater();
    });
  }

  #look(): void {
    if (this.#state === "closed" || this.#cancelTurn !== null) return;
    let looked = 0;
    for (const instance of this.#doubtful) {
      if (looked++ === INSTANCES_A_TURN) break;
      this.#doubtful.delete(instance);
      this.#lookAt(instance);
    }
    if (this.#doubtful.size === 0) return;
    this.#cancelTurn = this.#parts.clock.after(0, () => {
      this.#cancelTurn = null;
      this.#look();
    });
  }

  #lookAt(instance: Instance): void {
    const runner = instance.adopted?.runner;
    if (runner === undefined) return;
    try {
      const drifts = instance.devices.findDrift(runner.guest.registration);
      const [first] = drifts;
      if (first === undefined) return;
      runner.dispatch({
        kind: "registrationDrifted",
        atUnixUs: this.#parts.clock.unixUs(),
        reason: first.problem.reason,
        sentence: sentenceOfDrifts(drifts),
      });
    } catch (thrown) {
      // The next change, or the next audit, looks again.
      const { message, reason } = SwitchoverError.from(thrown);
      const fields = { guest_id: instance.guestId, instance_id: instance.instanceId, reason };
      this.#parts.log.warn(fields, `What the kernel holds of a guest's NICs could not be read: ${message}`);
    }
  }
}
