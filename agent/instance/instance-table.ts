import { SwitchoverError } from "../../proto/error.ts";
import { type GuestId, type InstanceId, parseInstanceId } from "../../proto/ids.ts";
import type { Instance } from "./instance.ts";

export interface InstanceObserver {
  added(instance: Instance): void;
  removed(instance: Instance): void;
  /** It has other NICs than before. */
  changed(instance: Instance): void;
}

/** The instances on this host, by guest. */
export class InstanceTable {
  readonly #byGuest = new Map<GuestId, Map<InstanceId, Instance>>();
  readonly #observers = new Set<InstanceObserver>();

  /** Tells `observer` of each one that comes and goes; the returned function ends that. */
  observe(observer: InstanceObserver): () => void {
    this.#observers.add(observer);
    return () => void this.#observers.delete(observer);
  }

  add(instance: Instance): void {
    const instances = this.#byGuest.get(instance.guestId) ?? new Map<InstanceId, Instance>();
    instances.set(instance.instanceId, instance);
    this.#byGuest.set(instance.guestId, instances);
    for (const observer of this.#observers) observer.added(instance);
  }

  remove(instance: Instance): void {
    const instances = this.#byGuest.get(instance.guestId);
    if (instances?.get(instance.instanceId) !== instance) return;
    instances.delete(instance.instanceId);
    if (instances.size === 0) this.#byGuest.delete(instance.guestId);
    for (const observer of this.#observers) observer.removed(instance);
  }

  /** To be called once an instance has other NICs. */
  noteChange(instance: Instance): void {
    for (const observer of this.#observers) observer.changed(instance);
  }

  find(guestId: GuestId, instanceId: InstanceId): Instance | undefined {
    return this.#byGuest.get(guestId)?.get(instanceId);
  }

  ofGuest(guestId: GuestId): readonly Instance[] {
    return [...(this.#byGuest.get(guestId)?.values() ?? [])];
  }

  guestIds(): readonly GuestId[] {
    return [...this.#byGuest.keys()];
  }

  all(): readonly Instance[] {
    return [...this.#byGuest.values()].flatMap((instances) => [...instances.values()]);
  }

  /**
   * The instance a request means: the one it names, or with an empty id the only one that `suits`.
   * Throws NOT_FOUND (GUEST_UNKNOWN, INSTANCE_UNKNOWN) or FAILED_PRECONDITION / INSTANCE_AMBIGUOUS.
   */
  resolve(guestId: GuestId, instanceIdText: string, suits: (instance: Instance) => boolean): Instance {
    const instances = this.ofGuest(guestId);
    if (instances.length === 0) {
      throw new SwitchoverError("NOT_FOUND", `Guest ${guestId} has no instance on this host.`, {
        reason: "GUEST_UNKNOWN",
        field: "guest_id",
      });
    }
    if (instanceIdText !== "") return this.#named(guestId, parseInstanceId(instanceIdText, "instance_id"));
    const suiting = instances.filter(suits);
    const [only, ...others] = suiting.length === 0 ? instances : suiting;
    if (only !== undefined && others.length === 0) return only;
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `Guest ${guestId} has several instances here (${instances.map((instance) => instance.instanceId).join(", ")}): name one.`,
      { reason: "INSTANCE_AMBIGUOUS", field: "instance_id" },
    );
  }

  #named(guestId: GuestId, instanceId: InstanceId): Instance {
    const instance = this.find(guestId, instanceId);
    if (instance !== undefined) return instance;
    throw new SwitchoverError("NOT_FOUND", `Guest ${guestId} has no instance ${instanceId} on this host.`, {
      reason: "INSTANCE_UNKNOWN",
      field: "instance_id",
    });
  }
}
