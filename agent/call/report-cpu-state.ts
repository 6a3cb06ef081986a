import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  ReportCpuStateRequest,
  ReportCpuStateResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import type { Guest } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import type { Instance } from "../instance/instance.ts";
import { GONE } from "../vmm/vmm-report.ts";
import { parseVmmTold } from "./parse-vmm-told.ts";
import { requireVmm } from "./require-vmm.ts";

/** A kernel that refuses is asked again in its own time. */
const DEREGISTRATION_TIMEOUT_MS = 10_000;

/** Answered once the gate has done what follows; a stop's words, which an agent that comes back needs, are journaled. */
export async function reportCpuState(
  host: Host,
  request: ReportCpuStateRequest,
): Promise<ReportCpuStateResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const told = parseVmmTold(request);
  const isExternal = ({ adopted }: Instance) => adopted?.source.kind === "external";
  const instance = host.instances.resolve(guestId, request.instanceId, isExternal);
  const { runner, source } = instance.requireAdopted();
  if (source.kind === "qmp") throw drivenByAgent(instance, source.qmpPath);
  if (told.runState !== GONE) requireVmm(runner.guest);
  const change = source.vmm.report(told);
  // Questions are answered in the order in which they were asked: the gate has its answers by then.
  await source.vmm.queryStatus();
  await runner.waitUntil(
    (now) => isDeregistered(now) && runner.isJournaled,
    DEREGISTRATION_TIMEOUT_MS,
    "the NICs to be deregistered",
  );
  const applied = change === "changed" ? Applied.CHANGED : Applied.ALREADY_SO;
  return { applied, instance: instance.message() };
}

/** As far as it is to be: a guest that may start stays registered. */
function isDeregistered({ cpus, registration, registrationFailures }: Guest): boolean {
  return cpus.kind === "running" || registration === "quarantined" || registrationFailures === 0;
}

function drivenByAgent({ guestId, instanceId }: Instance, qmpPath: string): SwitchoverError {
  return new SwitchoverError(
    "FAILED_PRECONDITION",
    `The agent drives instance ${instanceId} of guest ${guestId} by ${qmpPath}, and hears of its CPUs there.`,
    { reason: "VMM_DRIVEN", field: "instance_id" },
  );
}
