import { deviceTypeOf } from "../device/device-types.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import { addressesOf } from "../device/nic-identity.ts";
import type { Instance } from "../instance/instance.ts";
import type { KernelChange } from "../netlink/kernel-change.ts";

export interface IndexedNic {
  readonly instance: Instance;
  readonly nic: NicDefinition;
}

/** Whose NICs a change of the kernel's may be about, by address, group and name: told in constant time, whatever the host holds. */
export class NicIndex {
  readonly #byKey = new Map<string, Set<IndexedNic>>();
  readonly #byInstance = new Map<Instance, readonly IndexedNic[]>();
  /** Of the links that the NICs name: an address tells its device by number alone. */
  readonly #nameByIfindex = new Map<number, string>();

  add(instance: Instance): void {
    const indexed = instance.nics.map((nic) => ({ instance, nic }));
    this.#byInstance.set(instance, indexed);
    for (const entry of indexed) {
      const place = instance.devices.placeOf(entry.nic.nicId);
      const deviceName = deviceTypeOf(entry.nic).deviceName(entry.nic);
      if (place !== undefined && deviceName !== undefined) {
        this.#nameByIfindex.set(place.deviceIfindex, deviceName);
      }
      for (const key of keysOf(entry.nic)) {
        const entries = this.#byKey.get(key) ?? new Set<IndexedNic>();
        entries.add(entry);
        this.#byKey.set(key, entries);
      }
    }
  }

  remove(instance: Instance): void {
    for (const entry of this.#byInstance.get(instance) ?? []) {
      for (const key of keysOf(entry.nic)) {
        const entries = this.#byKey.get(key);
        entries?.delete(entry);
        if (entries?.size === 0) this.#byKey.delete(key);
      }
    }
    this.#byInstance.delete(instance);
  }

  /** Empty for an overrun, which is about all of them. */
  of(change: KernelChange): Iterable<IndexedNic> {
    const key = this.#keyOf(change);
    const entries = key === undefined ? undefined : this.#byKey.get(key);
    // A device that was made again has another number.
    if (entries !== undefined && change.kind === "linkChanged") {
      this.#nameByIfindex.set(change.link.ifindex, change.link.name);
    } else if (change.kind === "linkRemoved") this.#nameByIfindex.delete(change.ifindex);
    return entries ?? [];
  }

  #keyOf(change: KernelChange): string | undefined {
    switch (change.kind) {
      case "linkChanged":
        return `link ${change.link.name}`;
      case "linkRemoved":
      case "portRemoved":
        return `link ${change.name}`;
      case "fdbEntryChanged":
      case "fdbEntryRemoved":
        return change.entry.macAddress;
      case "groupEntryChanged":
      case "groupEntryRemoved":
        return `group ${change.entry.group}`;
      case "addressChanged":
      case "addressRemoved": {
        const name = this.#nameByIfindex.get(change.address.ifindex);
        return name === undefined ? undefined : `link ${name}`;
      }
      case "overrun":
        return undefined;
    }
  }
}

function keysOf(nic: NicDefinition): readonly string[] {
  const type = deviceTypeOf(nic);
  return [
    ...addressesOf(nic).map(({ macAddress }) => macAddress),
    ...type.linkNames(nic).map((name) => `link ${name}`),
    ...(type.multicastGroups?.(nic) ?? []).map((group) => `group ${group}`),
  ];
}
