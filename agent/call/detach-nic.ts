import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  DetachNicRequest,
  DetachNicResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import { parseNicId } from "../device/check-nics.ts";
import type { DevicesChange } from "../guest/guest-runner.ts";
import type { Host } from "../host.ts";
import type { Instance } from "../instance/instance.ts";

/**
 * One turn of the event loop, so that no CPU event comes between: deregistered, then forgotten by the journal, then the
 * device goes. A killed agent has the NIC still, or a device that is an orphan.
 */
export function detachNic(host: Host, request: DetachNicRequest): DetachNicResponse {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const nicId = parseNicId(request.nicId, "nic_id");
  const instance = host.instances.resolve(guestId, request.instanceId, () => true);
  if (instance.state === "restoring") instance.requireAdopted();
  if (instance.nics.every((its) => its.nicId !== nicId)) return { applied: Applied.ALREADY_SO };
  stopAndForget(host, instance, nicId);
  return { applied: Applied.CHANGED };
}

function stopAndForget(host: Host, instance: Instance, nicId: string): void {
  const wasRegistered = isRegistered(instance, nicId);
  const stopped = instance.devices.stopOne(nicId);
  if (!stopped.ok) {
    throw new SwitchoverError("ABORTED", `The NIC could not be deregistered: ${stopped.sentence}`, {
      reason: "DEREGISTRATION_REFUSED",
      field: "nic_id",
    });
  }
  try {
    instance.detachNic(nicId);
  } catch (thrown) {
    if (wasRegistered) instance.devices.startOne(nicId);
    throw thrown;
  }
  const released = instance.devices.remove(nicId);
  host.instances.noteChange(instance);
  const sayIfLeft = (what: string, change: DevicesChange) => {
    if (change.ok) return;
    const fields = { guest_id: instance.guestId, instance_id: instance.instanceId, nic_id: nicId };
    host.ports.log.warn(fields, `A detached NIC's ${what} was left: ${change.sentence}`);
  };
  sayIfLeft("device", released);
  void released.parents?.then((change) => sayIfLeft("parent", change));
}

function isRegistered({ adopted }: Instance, nicId: string): boolean {
  const guest = adopted?.runner.guest;
  const nic = guest?.nics.find((its) => its.nicId === nicId);
  return guest?.registration === "registered" && nic?.delivery === "withCpus";
}
