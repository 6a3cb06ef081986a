import type { PretendedKernel } from "../../unit/device-pretended-kernel.ts";
import { BRIDGE, OVERLAY_BRIDGE, OWN_PARENT, SHARED_PARENT, UPLINK, VXLAN } from "../model/host.ts";
import { overlayOf, routingOf } from "./nic-definitions.ts";
import type { SimulatedInstance, SimulatedNic } from "./world.ts";

/** Somebody takes away what delivers the guest's frames to the instance. */
export function flushRegistrations({ host, nics }: SimulatedInstance): void {
  for (const nic of nics) flush(host.kernel, nic);
}

/** Somebody leads the guest's frames elsewhere, or cuts what carries them. */
export function takeRegistrations({ host, nics }: SimulatedInstance): void {
  for (const nic of nics) take(host.kernel, nic);
}

/** The kernel tells nobody. */
export function removeRoutes({ host, nics }: SimulatedInstance): void {
  for (const { deviceName, kind } of nics) if (kind === "routedTap") host.kernel.flushRoutes(deviceName);
}

function flush(kernel: PretendedKernel, nic: SimulatedNic): void {
  const { deviceName, kind, macAddress } = nic;
  switch (kind) {
    case "tap":
      kernel.flushEntry(BRIDGE, macAddress);
      return;
    case "kernelTap":
      kernel.flushEntry(BRIDGE, macAddress);
      kernel.shutPort(deviceName, ["learning"]);
      return;
    case "overlayTap": {
      const { macAddresses, vlans } = overlayOf(nic);
      // Of one of its addresses, and in one of its VLANs.
      kernel.flushEntry(OVERLAY_BRIDGE, macAddresses.at(-1) ?? macAddress, vlans.at(-1));
      return;
    }
    case "macvtap":
    case "passthrough":
      kernel.lower(deviceName);
      return;
    case "routedTap":
      // Without addresses nothing would tell of it.
      if (routingOf(nic).hostAddresses.length === 0) kernel.lower(deviceName);
      kernel.flushRoutes(deviceName);
      kernel.flushAddresses(deviceName);
      return;
    case "unmanaged":
  }
}

function take(kernel: PretendedKernel, nic: SimulatedNic): void {
  const { deviceName, kind, macAddress } = nic;
  switch (kind) {
    case "tap":
      kernel.takeEntry(BRIDGE, macAddress, UPLINK);
      return;
    case "kernelTap":
      kernel.shutPort(deviceName, ["unicastFlood", "multicastFlood", "broadcastFlood"]);
      return;
    case "overlayTap":
      kernel.takeEntry(OVERLAY_BRIDGE, macAddress, VXLAN, overlayOf(nic).vlans[0]);
      return;
    case "macvtap":
      kernel.lower(SHARED_PARENT);
      return;
    case "passthrough":
      kernel.lower(OWN_PARENT);
      return;
    case "routedTap":
      kernel.lower(deviceName);
      return;
    case "unmanaged":
  }
}
