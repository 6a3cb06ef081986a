import type { HostAgentPorts } from "../../agent/host-agent-ports.ts";
import type { HostId } from "../../proto/ids.ts";
import type { PretendedVmm } from "../kernel/pretended-vmm.ts";
import { VirtualClock } from "./coordinator-world.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";
import type { MemoryJournals } from "./memory-journals.ts";
import { PretendedFeedStream } from "./pretended-feed-stream.ts";
import { PretendedSpoolStore } from "./pretended-spool-store.ts";

/** What an agent needs from outside, on a host that is pretended; each part may be given. */
export function pretendedAgentPorts(
  hostId: string,
  journals: MemoryJournals,
  vmm: PretendedVmm,
  given: Partial<HostAgentPorts> = {},
): HostAgentPorts {
  const silent = () => {};
  const kernel = new PretendedKernel();
  return {
    hostId: hostId as HostId,
    version: "",
    kernelRelease: "",
    bootId: "boot-1",
    migrationAddress: "10.0.0.1",
    journals,
    clock: new VirtualClock(),
    log: { debug: silent, info: silent, warn: silent, error: silent },
    handOffs: { publish: silent, subscribe: () => silent },
    spool: new PretendedSpoolStore(),
    feed: new PretendedFeedStream(),
    devices: { route: kernel, factory: kernel },
    openVmm: async (_path, listener) => vmm.open(listener),
    ...given,
  };
}
