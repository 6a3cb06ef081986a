import { invalidArgument, SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  AttachNicRequest,
  AttachNicResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { Registration } from "../../proto/gen/switchover/v1/nic.ts";
import { parseGuestId } from "../../proto/ids.ts";
import { checkNicDefinitions } from "../device/check-nics.ts";
import type { HostSurvey } from "../device/host-survey.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import {
  type KnownBefore,
  type PreparedNic,
  prepareNics,
  requirePreparable,
} from "../device/nic-preparation.ts";
import { releaseNicsAside } from "../device/nic-release.ts";
import type { Guest } from "../guest/guest.ts";
import { startsAtOnce } from "../guest/nic-changes.ts";
import type { Host } from "../host.ts";
import type { Instance } from "../instance/instance.ts";
import { registrationOf } from "../instance/instance-message.ts";
import { parseNic } from "../instance/nic-message.ts";
import { toPreparedNicMessage } from "../instance/prepared-nic-message.ts";
import {
  devicesInUse,
  formerlyPrepared,
  refuseForeignMacs,
  refuseForeignRoutes,
  refuseSharedDevices,
} from "./nics-in-use.ts";
import { requireVmm } from "./require-vmm.ts";

const pathOf = (): string => "nic";

/** A killed agent finds the NIC in its journal, or a device that is an orphan. */
export async function attachNic(host: Host, request: AttachNicRequest): Promise<AttachNicResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  if (request.nic === undefined) throw invalidArgument("nic", "The NIC is required.", "REQUIRED");
  const nic = parseNic(request.nic, "nic");
  const instance = host.instances.resolve(guestId, request.instanceId, () => true);
  const guest = guestToAttachTo(instance);
  const known = instance.nics.find(({ nicId }) => nicId === nic.nicId);
  if (known !== undefined) return alreadyAttached(instance, guest, known, nic);
  checkNicDefinitions([...instance.nics, nic], pathOf);
  const survey = await host.surveyFor([nic]);
  // The guest may be given away by now.
  const resolved = host.instances.resolve(guestId, request.instanceId, () => true);
  guestToAttachTo(resolved);
  return attachNew(host, resolved, nic, survey, request.validateOnly);
}

/**
 * One turn of the event loop, so that no CPU event comes between: quarantined, journaled, and registered where the
 * guest's other NICs are.
 */
function attachNew(
  host: Host,
  instance: Instance,
  nic: NicDefinition,
  survey: HostSurvey,
  validateOnly: boolean,
): AttachNicResponse {
  const { guestId } = instance;
  refuseForeignMacs(host, guestId, [nic], pathOf);
  refuseForeignRoutes(host, guestId, [nic], pathOf);
  refuseSharedDevices(host, guestId, [nic], instance, pathOf);
  const abandoned = devicesInUse(host, [nic], instance, pathOf);
  if (validateOnly) {
    requirePreparable(host.ports.devices.route, [nic], pathOf, { survey });
    return { applied: Applied.UNSPECIFIED, nic: undefined, registration: Registration.UNSPECIFIED };
  }
  const prepared = prepareOne(host, instance, nic, { survey, former: formerlyPrepared(abandoned, [nic]) });
  try {
    startIfDue(instance, nic);
  } finally {
    host.instances.noteChange(instance);
  }
  for (const other of abandoned) host.forget(other);
  return answer(Applied.CHANGED, instance, prepared);
}

/** Undefined before AdoptGuest. Throws UNAVAILABLE / RESTORING, and FAILED_PRECONDITION where the guest is elsewhere. */
function guestToAttachTo(instance: Instance): Guest | undefined {
  if (instance.state === "prepared") return undefined;
  const { guest } = instance.requireAdopted().runner;
  requireVmm(guest);
  if (guest.role.kind !== "relinquished" && guest.role.kind !== "fenced") return guest;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${instance.instanceId} has given guest ${instance.guestId} away: attach the NIC where it is.`,
    { reason: "NOT_OWNER", field: "instance_id", metadata: { role: guest.role.kind } },
  );
}

function alreadyAttached(
  instance: Instance,
  guest: Guest | undefined,
  known: NicDefinition,
  wanted: NicDefinition,
): AttachNicResponse {
  const { nicId } = known;
  if (JSON.stringify(known) !== JSON.stringify(wanted)) {
    throw new SwitchoverError(
      "ALREADY_EXISTS",
      `Instance ${instance.instanceId} has ${nicId} with another definition.`,
      { reason: "NIC_EXISTS", field: "nic.nic_id" },
    );
  }
  if (guest?.nics.find((nic) => nic.nicId === nicId)?.delivery === "withheld") {
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `The guest came without ${nicId}, so it is withheld here: detach it, then attach it again.`,
      { reason: "NIC_WITHHELD", field: "nic.nic_id" },
    );
  }
  const prepared = instance.prepared.find((nic) => nic.nicId === nicId);
  return answer(Applied.ALREADY_SO, instance, prepared);
}

/** Quarantined and journaled, or as it was before. */
function prepareOne(host: Host, instance: Instance, nic: NicDefinition, known: KnownBefore): PreparedNic {
  const { devices } = host.ports;
  const [prepared] = prepareNics(devices, [nic], pathOf, known);
  if (prepared === undefined) throw new Error(`${nic.nicId} was not prepared`);
  try {
    instance.devices.add(nic, prepared);
  } catch (thrown) {
    releaseNicsAside(devices, [nic], new Map([[nic.nicId, prepared.ownership]]));
    throw thrown;
  }
  try {
    instance.attachNic(nic, prepared);
    return prepared;
  } catch (thrown) {
    instance.devices.remove(nic.nicId);
    throw thrown;
  }
}

function startIfDue(instance: Instance, { nicId }: NicDefinition): void {
  const guest = instance.adopted?.runner.guest;
  if (guest === undefined || !startsAtOnce(guest, nicId)) return;
  const started = instance.devices.startOne(nicId);
  if (started.ok) return;
  instance.detachNic(nicId);
  instance.devices.remove(nicId);
  throw new SwitchoverError("ABORTED", `The NIC could not be registered: ${started.sentence}`, {
    reason: "REGISTRATION_REFUSED",
    field: "nic",
  });
}

function answer(
  applied: Applied,
  { adopted }: Instance,
  prepared: PreparedNic | undefined,
): AttachNicResponse {
  const guest = adopted?.runner.guest;
  const nic = prepared === undefined ? undefined : toPreparedNicMessage(prepared);
  const delivery = guest?.nics.find(({ nicId }) => nicId === prepared?.nicId)?.delivery;
  const registration =
    guest !== undefined && delivery === "withCpus" ? registrationOf(guest) : Registration.QUARANTINED;
  return { applied, nic, registration };
}
