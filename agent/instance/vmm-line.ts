import type { HostAgentPorts } from "../host-agent-ports.ts";
import type { Vmm, VmmEvent } from "../vmm/vmm.ts";

/** An open VMM, and what it says: kept from the first word on until somebody hears it, in order. */
export interface VmmLine {
  readonly vmm: Vmm;
  /** Hands over what was said so far, then each event as it is read. */
  hear(listener: (event: VmmEvent) => void): void;
}

/** Rejects as `openVmm` does. */
export async function openVmmLine(openVmm: HostAgentPorts["openVmm"], qmpPath: string): Promise<VmmLine> {
  const early: VmmEvent[] = [];
  let deliver = (event: VmmEvent): void => void early.push(event);
  const vmm = await openVmm(qmpPath, (event) => deliver(event));
  return {
    vmm,
    hear: (listener) => {
      deliver = listener;
      for (const event of early.splice(0)) listener(event);
    },
  };
}
