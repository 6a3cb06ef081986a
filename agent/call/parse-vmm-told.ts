import { invalidArgument, unknownEnum } from "../../proto/error.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  ExternalCpuSource,
  ReportCpuStateRequest,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { OwnersVmm } from "../instance/cpu-source.ts";
import { isIncomingUri } from "../vmm/migration-address.ts";
import { parseMigrationStatus } from "../vmm/migration-status.ts";
import { GONE, type VmmReport, type VmmTold } from "../vmm/vmm-report.ts";

/** What an owner says of the VMM that it brings under the gate. */
export interface ExternalSource extends OwnersVmm {
  readonly kind: "external";
}

const RUN_STATE = /^[a-z][a-z0-9-]{0,31}$/;

export function parseExternalSource(source: ExternalCpuSource): ExternalSource {
  const { cpuState, runState, incomingUri, transferStatus } = source;
  const cpus = parseCpuState(cpuState, "external_cpu_source.cpu_state");
  const field = "external_cpu_source.run_state";
  const told = parseRunState(runState, cpus, field);
  if (told === GONE) throw invalidArgument(field, "A VMM that has ended cannot be adopted.");
  if (incomingUri !== "" && !isIncomingUri(incomingUri)) {
    throw invalidArgument(
      "external_cpu_source.incoming_uri",
      "The URI must be of the form tcp:ADDRESS:PORT.",
    );
  }
  parseTransferStatus(transferStatus, "external_cpu_source.transfer_status");
  const assumed = cpus === "running" ? "running" : "paused";
  const report: VmmReport = {
    cpus,
    runState: told === "" ? assumed : told,
    transferStatus: "none",
    observedAtUnixUs: 0,
  };
  return { kind: "external", report, incomingUri, lastTransferStatus: transferStatus || "none" };
}

export function parseVmmTold(request: ReportCpuStateRequest): VmmTold {
  const cpus = parseCpuState(request.cpuState, "cpu_state");
  const { startRefusal, transferStatus } = request;
  parseTransferStatus(transferStatus, "transfer_status");
  if (startRefusal !== "" && cpus === "running") {
    throw invalidArgument("start_refusal", "CPUs that run were not refused their start.");
  }
  return {
    cpus,
    runState: parseRunState(request.runState, cpus, "run_state"),
    transferStatus,
    startRefusal,
    observedAtUnixUs: parseObservedAt(request.observedAtUnixUs),
  };
}

function parseCpuState(state: CpuState, field: string): VmmReport["cpus"] {
  switch (state) {
    case CpuState.RUNNING:
      return "running";
    case CpuState.STOPPED:
      return "stopped";
    default:
      throw unknownEnum(field, state, "The state of the CPUs must be RUNNING or STOPPED.");
  }
}

/** Empty where it was not told. */
function parseTransferStatus(text: string, field: string): void {
  if (text === "" || parseMigrationStatus(text) !== "unknown") return;
  throw invalidArgument(field, `"${text}" is no status of a transfer that QEMU knows.`);
}

/** Empty where it was not told. */
function parseRunState(text: string, cpus: VmmReport["cpus"], field: string): string {
  if (text === "") return "";
  if (!RUN_STATE.test(text)) {
    throw invalidArgument(field, `A run state is a word of QEMU's, such as "paused".`);
  }
  if ((text === "running") === (cpus === "running")) return text;
  throw invalidArgument(field, `CPUs that are ${cpus} are not in run state "${text}".`, "MISMATCH");
}

function parseObservedAt(told: bigint): number {
  if (told < 0n || told > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw invalidArgument("observed_at_unix_us", "The time must be in microseconds since 1970.");
  }
  return Number(told);
}
