import type { KernelChange } from "../../../agent/netlink/kernel-change.ts";
import { PretendedKernel } from "../../unit/device-pretended-kernel.ts";
import type { Random } from "../engine/random.ts";
import { SimulatedDisk } from "./disk.ts";
import type { Qemu } from "./qemu.ts";

export const BRIDGE = "br0";
export const UPLINK = "uplink0";

/** A host without its agent: kernel, disk, and the QEMUs that run there. */
export class SimulatedHost {
  readonly hostId: string;
  readonly disk: SimulatedDisk;
  kernel: PretendedKernel;
  /** By the path of their monitor. */
  readonly qemus = new Map<string, Qemu>();
  /** Who hears what others do to its kernel. */
  readonly kernelListeners = new Set<(change: KernelChange) => void>();
  #boots = 1;

  readonly #boot: () => PretendedKernel;

  constructor(hostId: string, random: Random, registration: "replace" | "exclusive", onStolen: () => void) {
    this.hostId = hostId;
    this.disk = new SimulatedDisk(random);
    this.#boot = () => {
      const kernel = bootKernel(registration, onStolen);
      kernel.onChange = (change) => {
        for (const hear of this.kernelListeners) hear(change);
      };
      return kernel;
    };
    this.kernel = this.#boot();
  }

  /** Power off and on: processes are gone, the kernel forgets, the disk keeps what was synced. */
  crash(): void {
    for (const qemu of this.qemus.values()) qemu.kill();
    this.disk.crash();
    this.kernel = this.#boot();
    this.#boots += 1;
  }

  get bootId(): string {
    return `boot-${this.#boots}`;
  }
}

function bootKernel(registration: "replace" | "exclusive", onStolen: () => void): PretendedKernel {
  const kernel = new PretendedKernel(registration);
  kernel.onStolen = onStolen;
  kernel.addBridge(BRIDGE);
  kernel.addPort(UPLINK, BRIDGE);
  return kernel;
}
