import { type FoundVmm, type Recalled, recall } from "../guest/recall.ts";
import type { Memory } from "../guest/remember.ts";
import { newestFenceIn } from "../journal/journal.ts";
import type { InstanceParts } from "./instance-parts.ts";

/** The guest as its journal and its VMM leave it, for an agent that comes back. */
export function recalledGuest(
  parts: InstanceParts,
  memory: Memory,
  found: FoundVmm,
  atUnixUs: number,
): Recalled {
  const { guestId, journal, ports, wasTold } = parts;
  const { bootId, hostId, staysRegisteredFor = [] } = ports;
  const newest = newestFenceIn(journal.entries);
  return recall(guestId, hostId, bootId, memory, newest, found, atUnixUs, wasTold, staysRegisteredFor);
}

/** Of a guest that stands. What cannot be read is not registered: it is deregistered then, as R2 says. */
export function nicsInKernel({ devices, ports }: InstanceParts): "registered" | "notRegistered" | "unread" {
  if ((ports.staysRegisteredFor ?? []).length === 0) return "unread";
  try {
    return devices.findDrift("registered").length === 0 ? "registered" : "notRegistered";
  } catch {
    return "notRegistered";
  }
}
