import { VmmDemand } from "../../proto/gen/switchover/v1/guest.ts";
import { type Guest, holdsRightToRun } from "../guest/guest.ts";
import type { TransferRequest } from "../vmm/external-vmm.ts";
import type { CpuSource } from "./cpu-source.ts";

/**
 * What the gate waits for a VMM's owner to do, so that an agent that comes back demands the same. Empty for a VMM that
 * the agent drives.
 */
export function demandsOf(guest: Guest, source: CpuSource): VmmDemand[] {
  if (source.kind === "qmp" || guest.vmm === "lost") return [];
  const { requests } = source.vmm;
  const asked = new Set<VmmDemand>([...requests].map((request) => REQUESTED[request]));
  if (mayStart(guest)) asked.add(VmmDemand.START_CPUS);
  if (guest.cpus.kind === "running" && !holdsRightToRun(guest) && !mayRun(guest)) {
    asked.add(VmmDemand.STOP_CPUS);
  }
  for (const demand of demandsOfRole(guest)) asked.add(demand);
  return [...asked].sort((one, other) => one - other);
}

/** Registered, read back and journaled: the CPUs are to be started, and were not by what was told so far. */
export function mayStart({ cpus, role, vmm }: Guest): boolean {
  if (cpus.kind === "running" || vmm === "lost") return false;
  return role.kind === "resident"
    ? role.start === "contSent"
    : role.kind === "incoming" && role.contSentAtUnixUs !== null;
}

const REQUESTED: Readonly<Record<TransferRequest, VmmDemand>> = {
  cancelTransfer: VmmDemand.CANCEL_TRANSFER,
  pauseTransfer: VmmDemand.PAUSE_TRANSFER,
  recoverTransfer: VmmDemand.RECOVER_TRANSFER,
};

function mayRun({ role }: Guest): boolean {
  return role.kind === "incoming" && role.contSentAtUnixUs !== null;
}

function demandsOfRole({ migration, role }: Guest): readonly VmmDemand[] {
  if (role.kind === "fenced") return role.vmm === "ending" ? [VmmDemand.END_VMM] : [];
  if (role.kind !== "outgoing" || role.transfer === "notBegun" || !role.canFailBack) return [];
  if (role.keep !== "notAsked") return [VmmDemand.CANCEL_TRANSFER];
  const status = migration?.transferStatus ?? "none";
  if (status === "none") return [VmmDemand.BEGIN_TRANSFER];
  return role.postCopy === "asked" && !status.startsWith("postcopy-") ? [VmmDemand.SWITCH_TO_POST_COPY] : [];
}
