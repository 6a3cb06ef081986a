import type { ExternalVmm } from "../vmm/external-vmm.ts";

/** Who stops and starts an instance's CPUs, and tells of it: its QEMU, by QMP, or its owner, by RPC. */
export type CpuSource =
  | { readonly kind: "qmp"; readonly qmpPath: string }
  | {
      readonly kind: "external";
      readonly vmm: ExternalVmm;
      /** Where it waits for a guest, as far as its owner told; may be empty. */
      readonly incomingUri: string;
    };
