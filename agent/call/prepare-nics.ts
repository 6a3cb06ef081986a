import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  PrepareNicsRequest,
  PrepareNicsResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId, parseInstanceId } from "../../proto/ids.ts";
import { checkNicDefinitions, nicPathInList } from "../device/check-nics.ts";
import { prepareNics as quarantineNics, requirePreparable } from "../device/nic-preparation.ts";
import type { Host } from "../host.ts";
import { parseNics } from "../instance/nic-message.ts";
import { PreparedDevices } from "../instance/prepared-devices.ts";
import { toPreparedNicMessage } from "../instance/prepared-nic-message.ts";
import {
  devicesInUse,
  formerlyPrepared,
  refuseForeignMacs,
  refuseForeignRoutes,
  refuseSharedDevices,
} from "./nics-in-use.ts";

export async function prepareNics(host: Host, request: PrepareNicsRequest): Promise<PrepareNicsResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const instanceId = parseInstanceId(request.instanceId, "instance_id");
  const nics = parseNics(request.nics);
  const { devices, clock } = host.ports;

  const known = host.instances.find(guestId, instanceId);
  if (known !== undefined) {
    if (JSON.stringify(known.nics) === JSON.stringify(nics)) {
      return { applied: Applied.ALREADY_SO, nics: known.prepared.map(toPreparedNicMessage) };
    }
    if (known.state !== "prepared") throw otherDefinition(instanceId);
  }
  checkNicDefinitions(nics);
  // From here on one turn of the event loop, so that no other guest's call comes between.
  const survey = await host.surveyFor(nics);
  refuseForeignMacs(host, guestId, nics, nicPathInList);
  refuseForeignRoutes(host, guestId, nics, nicPathInList);
  refuseSharedDevices(host, guestId, nics, known, nicPathInList);
  const abandoned = devicesInUse(host, nics, known, nicPathInList);
  requirePreparable(devices.route, nics, nicPathInList, { survey });
  if (request.validateOnly) return { applied: Applied.UNSPECIFIED, nics: [] };

  const journal = host.journalOf(guestId);
  if (known !== undefined) {
    // At once, for the new NICs may be on the same parents.
    known.devices.release(survey.stacked);
    host.forget(known);
  }
  const prepared = quarantineNics(devices, nics, nicPathInList, {
    survey,
    former: formerlyPrepared(abandoned, nics),
  });
  const quarantined = PreparedDevices.armed(devices, nics, prepared, () => clock.unixUs());
  try {
    journal.write({ atUnixUs: clock.unixUs(), instanceId, word: { kind: "nicsPrepared", nics, prepared } });
  } catch (thrown) {
    quarantined.release();
    throw thrown;
  }
  for (const instance of abandoned) host.forget(instance);
  quarantined.rehearse();
  host.hold({ guestId, instanceId, devices: quarantined });
  return { applied: Applied.CHANGED, nics: prepared.map(toPreparedNicMessage) };
}

function otherDefinition(instanceId: string): SwitchoverError {
  return new SwitchoverError("ALREADY_EXISTS", `Instance ${instanceId} was prepared here with other NICs.`, {
    reason: "INSTANCE_EXISTS",
    field: "instance_id",
  });
}
