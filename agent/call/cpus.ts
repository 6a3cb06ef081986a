import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  StartCpusRequest,
  StartCpusResponse,
  StopCpusRequest,
  StopCpusResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import { type Guest, holdsRightToRun } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import type { Instance } from "../instance/instance.ts";

/** The VMM may wait for disks when its CPUs start or stop. */
const CPUS_CHANGE_TIMEOUT_MS = 10_000;

export async function startCpus(host: Host, request: StartCpusRequest): Promise<StartCpusResponse> {
  const instance = resolveOwner(host, request);
  const { runner } = instance.requireAdopted();
  if (runner.guest.cpus.kind === "running")
    return { applied: Applied.ALREADY_SO, instance: instance.message() };
  if (runner.guest.role.kind !== "resident") {
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      "The guest is being migrated: start it when that has ended.",
      {
        reason: "MIGRATING",
        field: "guest_id",
      },
    );
  }
  runner.dispatch({ kind: "startOrdered", atUnixUs: host.ports.clock.unixUs() });
  const guest = await runner.waitUntil(
    (now) => now.cpus.kind === "running" || !isStarting(now),
    CPUS_CHANGE_TIMEOUT_MS,
    "the CPUs to run",
  );
  if (guest.cpus.kind !== "running") {
    throw new SwitchoverError("ABORTED", "The CPUs were not started: see the guest's alarms for the cause.", {
      reason: "START_REFUSED",
      field: "guest_id",
    });
  }
  return { applied: Applied.CHANGED, instance: instance.message() };
}

export async function stopCpus(host: Host, request: StopCpusRequest): Promise<StopCpusResponse> {
  const instance = resolveOwner(host, request);
  const { runner } = instance.requireAdopted();
  if (isStopped(runner.guest)) return { applied: Applied.ALREADY_SO, instance: instance.message() };
  runner.dispatch({ kind: "stopOrdered", atUnixUs: host.ports.clock.unixUs() });
  await runner.waitUntil(
    isStopped,
    CPUS_CHANGE_TIMEOUT_MS,
    "the CPUs to stop and the NICs to be deregistered",
  );
  return { applied: Applied.CHANGED, instance: instance.message() };
}

function resolveOwner(
  host: Host,
  request: { readonly guestId: string; readonly instanceId: string },
): Instance {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const owns = ({ adopted }: Instance) => adopted !== null && holdsRightToRun(adopted.runner.guest);
  const instance = host.instances.resolve(guestId, request.instanceId, owns);
  const { guest } = instance.requireAdopted().runner;
  if (holdsRightToRun(guest)) return instance;
  throw new SwitchoverError(
    "FAILED_PRECONDITION",
    `Instance ${instance.instanceId} of guest ${guestId} has no right to run.`,
    { reason: "NOT_OWNER", field: "instance_id", metadata: { role: guest.role.kind } },
  );
}

function isStarting(guest: Guest): boolean {
  return guest.role.kind === "resident" && guest.role.start !== "none";
}

function isStopped(guest: Guest): boolean {
  return guest.cpus.kind === "stopped" && guest.registration === "quarantined";
}
