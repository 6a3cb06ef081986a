import type { KernelChange } from "../../../agent/netlink/kernel-change.ts";
import { PretendedKernel } from "../../unit/device-pretended-kernel.ts";
import type { Grinder } from "../engine/grain.ts";
import type { Random } from "../engine/random.ts";
import { SimulatedDisk } from "./disk.ts";
import type { Qemu } from "./qemu.ts";

export const BRIDGE = "br0";
export const UPLINK = "uplink0";
/** A bridge that filters VLANs and snoops, and the VXLAN device that is its port. */
export const OVERLAY_BRIDGE = "br1";
export const VXLAN = "vx0";
/** What macvtaps stand on: found down, and shared; found up, and one guest's in passthrough. */
export const SHARED_PARENT = "eth1";
export const OWN_PARENT = "eth2";

/** A host without its agent: kernel, disk, and the QEMUs that run there. */
export class SimulatedHost {
  readonly hostId: string;
  readonly disk: SimulatedDisk;
  kernel: PretendedKernel;
  /** By the path of their monitor. */
  readonly qemus = new Map<string, Qemu>();
  /** Who hears what others do to its kernel. */
  readonly kernelListeners = new Set<(change: KernelChange) => void>();
  /** Whether what its kernel tells arrives. */
  changes: "told" | "lost" = "told";
  #boots = 1;

  readonly #boot: () => PretendedKernel;

  constructor(
    hostId: string,
    random: Random,
    grinder: Grinder,
    registration: "replace" | "exclusive",
    onStolen: () => void,
  ) {
    this.hostId = hostId;
    this.disk = new SimulatedDisk(random, grinder);
    this.#boot = () => {
      const kernel = bootKernel(registration, onStolen);
      kernel.onChange = (change) => this.#tell(change);
      return kernel;
    };
    this.kernel = this.#boot();
  }

  /** Power off and on: processes are gone, the kernel forgets, the disk keeps what was synced. */
  crash(): void {
    for (const qemu of this.qemus.values()) qemu.kill();
    this.disk.crash();
    this.kernel = this.#boot();
    this.changes = "told";
    this.#boots += 1;
  }

  /** The kernel has no room for what it would tell, and says so once it has again (ENOBUFS). */
  loseChanges(): void {
    this.changes = "lost";
  }

  tellChanges(): void {
    if (this.changes === "told") return;
    this.changes = "told";
    this.#tell({ kind: "overrun" });
  }

  get hasBridge(): boolean {
    return this.kernel.link(BRIDGE) !== undefined;
  }

  /** Its ports stay, as ports of no bridge. */
  deleteBridge(): void {
    const { kernel } = this;
    const bridge = kernel.link(BRIDGE);
    if (bridge === undefined) return;
    const ports = kernel
      .dump({ op: "dumpLinks" })
      .flatMap((message) => (message.type === "link" ? [message.link] : []))
      .filter(({ masterIfindex }) => masterIfindex === bridge.ifindex);
    kernel.remove(BRIDGE);
    for (const { ifindex, name } of ports) this.#tell({ kind: "portRemoved", ifindex, name });
    this.#tell({ kind: "linkRemoved", ifindex: bridge.ifindex, name: BRIDGE });
  }

  /** With the uplink as its port, and no other. */
  makeBridge(): void {
    const { kernel } = this;
    if (this.hasBridge) return;
    kernel.addBridge(BRIDGE);
    const masterIfindex = kernel.link(BRIDGE)?.ifindex ?? 0;
    const ifindex = kernel.link(UPLINK)?.ifindex ?? 0;
    kernel.execute({ requests: [{ op: "setLink", ifindex, change: { masterIfindex } }] });
    for (const name of [BRIDGE, UPLINK]) {
      const link = kernel.link(name);
      if (link !== undefined) this.#tell({ kind: "linkChanged", link });
    }
  }

  #tell(change: KernelChange): void {
    if (this.changes === "lost") return;
    for (const hear of this.kernelListeners) hear(change);
  }

  /** How often it was powered on. */
  get boots(): number {
    return this.#boots;
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
  kernel.addBridge(OVERLAY_BRIDGE, { vlanFiltering: "on", multicastSnooping: "on" });
  kernel.addVxlan(VXLAN, OVERLAY_BRIDGE);
  kernel.addParent(SHARED_PARENT, "down");
  kernel.addParent(OWN_PARENT, "up");
  return kernel;
}
