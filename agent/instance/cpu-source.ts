import type { ExternalVmm } from "../vmm/external-vmm.ts";
import type { VmmReport } from "../vmm/vmm-report.ts";

/** Who stops and starts an instance's CPUs, and tells of it: its QEMU, by QMP, or its owner, by RPC. */
export type CpuSource =
  | { readonly kind: "qmp"; readonly qmpPath: string }
  | {
      readonly kind: "external";
      readonly vmm: ExternalVmm;
      /** Where it waits for a guest, as far as its owner told; may be empty. */
      readonly incomingUri: string;
    };

/** A VMM that its owner drives, as that brings it under the gate. */
export interface OwnersVmm {
  readonly report: VmmReport;
  /** Where it waits for its guest; empty where nobody needs to be told. */
  readonly incomingUri: string;
  /** QEMU's word for how its last transfer ended; "none" where there was none. */
  readonly lastTransferStatus: string;
}
