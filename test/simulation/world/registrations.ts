import { BRIDGE } from "../model/host.ts";
import type { SimulatedInstance } from "./world.ts";

export type Registrations = "all" | "some" | "none";

/** Whether the kernel of the instance's host delivers the guest's frames to it: for all NICs, some, or none. */
export function registrationOf(instance: SimulatedInstance): Registrations {
  const { kernel } = instance.host;
  const { read } = instance;
  if (read.kernel !== kernel || read.changes !== kernel.changes) {
    read.kernel = kernel;
    read.changes = kernel.changes;
    read.registrations = readRegistrations(instance);
  }
  return read.registrations;
}

function readRegistrations({ host: { kernel }, nics }: SimulatedInstance): Registrations {
  let registered = 0;
  for (const { deviceName, macAddress } of nics) {
    const entry = kernel.entry(BRIDGE, macAddress);
    if (entry !== undefined && entry.ifindex === kernel.link(deviceName)?.ifindex) registered += 1;
  }
  if (registered === 0) return "none";
  return registered === nics.length ? "all" : "some";
}
