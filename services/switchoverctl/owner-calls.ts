import { type GuestInstance, VmmDemand } from "../../proto/gen/switchover/v1/guest.ts";
import {
  ReportCpuStateResponse,
  StartCpusResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { AgentClient } from "./agent-client.ts";
import type { Screen } from "./display.ts";
import { EXIT_CODES } from "./exit-code.ts";
import type { ReportValues, StartCpusValues, TargetValues } from "./owner-settings.ts";

/** Tells how a VMM stands, and shows what it is to do next; returns the exit code, throws SwitchoverError. */
export async function reportCpuState(
  values: ReportValues,
  client: Pick<AgentClient, "reportCpuState">,
  screen: Screen,
): Promise<number> {
  const response = await client.reportCpuState({
    ...targetOf(values),
    cpuState: values.cpus,
    runState: values["run-state"] ?? "",
    transferStatus: values["transfer-status"] ?? "",
    observedAtUnixUs: BigInt(values["observed-at"] ?? 0),
    startRefusal: values["start-refusal"] ?? "",
  });
  show(values, screen, response.instance, ReportCpuStateResponse.toJSON(response));
  return EXIT_CODES.done;
}

export async function startCpus(
  values: StartCpusValues,
  client: Pick<AgentClient, "startCpus">,
  screen: Screen,
): Promise<number> {
  const response = await client.startCpus({
    ...targetOf(values),
    runsNowhereElse: values["runs-nowhere-else"] === "on",
  });
  show(values, screen, response.instance, StartCpusResponse.toJSON(response));
  return EXIT_CODES.done;
}

function targetOf({ guest, instance }: TargetValues): { guestId: string; instanceId: string } {
  return { guestId: guest, instanceId: instance ?? "" };
}

function show(
  { json }: TargetValues,
  screen: Screen,
  instance: GuestInstance | undefined,
  answer: unknown,
): void {
  if (json === "on") screen.write(`${JSON.stringify(answer)}\n`);
  else for (const demand of instance?.demands ?? []) screen.write(`${wordOf(demand)}\n`);
}

/** `start-cpus` for START_CPUS; a number for one that is newer than this program. */
function wordOf(demand: VmmDemand): string {
  const name = Object.entries(VmmDemand).find(([, value]) => value === demand)?.[0] ?? String(demand);
  return name.toLowerCase().replaceAll("_", "-");
}
