import { SwitchoverError } from "../proto/error.ts";
import type { GuestId } from "../proto/ids.ts";
import { type Memory, remember } from "./guest/remember.ts";
import type { Host } from "./host.ts";
import type { Instance } from "./instance/instance.ts";
import { PreparedDevices } from "./instance/prepared-devices.ts";

/**
 * Brings back every instance that the journals know and that is not done with. All are known at once, so that nothing of
 * theirs is taken for an orphan; their VMMs are reached in their own time. Resolves when every VMM has answered or is
 * gone. A journal that cannot be read costs its own guest only, with an error in the log.
 */
export function restoreInstances(host: Host): Promise<void> {
  const restoring: Promise<void>[] = [];
  for (const guestId of host.ports.journals.guestIds()) {
    for (const { instance, memory } of instancesOf(host, guestId)) {
      if (memory.reported !== null) instance.restoreExternal(memory, memory.reported);
      else if (memory.adopted !== null) restoring.push(instance.restore(memory, memory.adopted.qmpPath));
    }
  }
  return Promise.all(restoring).then(() => undefined);
}

function instancesOf(
  host: Host,
  guestId: GuestId,
): readonly { readonly instance: Instance; readonly memory: Memory }[] {
  const { bootId, clock, devices, hostId, log } = host.ports;
  try {
    return remember(host.journalOf(guestId).entries).map((memory) => {
      const { adopted, instanceId, nics, prepared } = memory;
      // What was never adopted never had anything registered.
      const boot = adopted?.bootId === bootId ? "ofPreparation" : "another";
      const remembered = PreparedDevices.remembered(boot, devices, nics, prepared, () => clock.unixUs());
      return { memory, instance: host.hold({ guestId, instanceId, devices: remembered }) };
    });
  } catch (thrown) {
    const { message, reason } = SwitchoverError.from(thrown);
    host.unreadGuests.add(guestId);
    log.error({ guest_id: guestId, host_id: hostId, reason }, `A guest was not brought back: ${message}`);
    return [];
  }
}
