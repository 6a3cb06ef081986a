import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import { AttachNicResponse, DetachNicResponse } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { Registration } from "../../proto/gen/switchover/v1/nic.ts";
import type { AgentClient } from "./agent-client.ts";
import type { Screen } from "./display.ts";
import { EXIT_CODES } from "./exit-code.ts";
import type { AttachNicValues, DetachNicValues } from "./nic-settings.ts";

/** Gives an instance a NIC; returns the exit code, throws SwitchoverError. */
export async function attachNic(
  values: AttachNicValues,
  client: Pick<AgentClient, "attachNic">,
  screen: Screen,
): Promise<number> {
  const response = await client.attachNic({
    guestId: values.guest,
    instanceId: values.instance ?? "",
    nic: values.nic,
    validateOnly: values["dry-run"] === "on",
  });
  const { nicId } = values.nic;
  screen.write(
    values.json === "on"
      ? `${JSON.stringify(AttachNicResponse.toJSON(response))}\n`
      : `${attachedWords(nicId, response)}\n`,
  );
  return EXIT_CODES.done;
}

/** Takes a NIC from an instance; returns the exit code, throws SwitchoverError. */
export async function detachNic(
  values: DetachNicValues,
  client: Pick<AgentClient, "detachNic">,
  screen: Screen,
): Promise<number> {
  const { guest: guestId, instance: instanceId = "", nic: nicId } = values;
  const response = await client.detachNic({ guestId, instanceId, nicId });
  const words = response.applied === Applied.CHANGED ? `${nicId} is detached.` : `There is no ${nicId}.`;
  screen.write(`${values.json === "on" ? JSON.stringify(DetachNicResponse.toJSON(response)) : words}\n`);
  return EXIT_CODES.done;
}

function attachedWords(nicId: string, { applied, nic, registration }: AttachNicResponse): string {
  if (applied === Applied.UNSPECIFIED) return `${nicId} can be attached.`;
  const device = nic === undefined || nic.deviceName === "" ? "" : ` on ${nic.deviceName}`;
  const deed = applied === Applied.CHANGED ? "is attached" : "was attached already";
  return registration === Registration.REGISTERED
    ? `${nicId} ${deed}${device}, and registered.`
    : `${nicId} ${deed}${device}; it starts with the guest's CPUs.`;
}
