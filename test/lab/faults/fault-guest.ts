import { join } from "node:path";
import { SwitchoverError } from "../../../proto/error.ts";
import { pollUntil } from "../deadline.ts";
import { createSharedDisk, type GuestQemu } from "../guest.ts";
import { type GuestIdentity, startInstance } from "../managed/guest-instance.ts";

const BOOT_TIMEOUT_MS = 30_000;
const RELEASE_TIMEOUT_MS = 10_000;

/** The guest that faults happen to: migrated for as long as it lives, and booted anew when it was lost. */
export class FaultGuest {
  readonly identity: GuestIdentity;
  #instances = 0;
  #disks = 0;
  #diskPath = "";
  #current: GuestQemu | undefined;

  constructor(identity: GuestIdentity) {
    this.identity = identity;
  }

  get diskPath(): string {
    return this.#diskPath;
  }

  /** The QEMU in which the guest is; undefined while it is lost. */
  get current(): GuestQemu | undefined {
    return this.#current;
  }

  /** A first boot, with an empty disk; returns when the guest beats. */
  async boot(host: string): Promise<GuestQemu> {
    const { controlPlane, guestId, lab } = this.identity;
    this.#disks += 1;
    this.#diskPath = join(lab.directory, `disk-${guestId}-${this.#disks}`);
    await createSharedDisk(this.#diskPath, lab.topology.hosts.length);
    const qemu = await this.#start(host, "first-boot");
    await controlPlane.startCpus(host, guestId);
    await qemu.waitForHeartbeatAfter(0, BOOT_TIMEOUT_MS);
    this.#current = qemu;
    return qemu;
  }

  /** A QEMU on another host that waits for the guest. */
  prepareDestination(host: string): Promise<GuestQemu> {
    return this.#start(host, "incoming");
  }

  /**
   * What a control plane does when a migration has ended: the guest is in `kept`, or lost, and the others are ended. The
   * devices of a guest that crashed stay until its next QEMU takes them; those of the other side are let go of, unless
   * they went with their host.
   */
  async settleIn(
    kept: GuestQemu | undefined,
    others: readonly GuestQemu[],
    deadHost?: string,
  ): Promise<void> {
    this.#current = kept;
    for (const qemu of others) await qemu.kill();
    if (kept === undefined) return;
    for (const qemu of others) if (qemu.host !== deadHost) await this.#released(qemu);
  }

  /** The agent lets go of an instance once its QEMU is gone. */
  async #released(qemu: GuestQemu): Promise<void> {
    const { controlPlane, guestId } = this.identity;
    await pollUntil(
      async () => {
        const instances = await controlPlane.instances(qemu.host, guestId);
        return instances.every(({ instanceId }) => instanceId !== qemu.instance) || undefined;
      },
      RELEASE_TIMEOUT_MS,
      `The release of ${qemu.instance} on ${qemu.host}`,
      50,
    );
  }

  /** An agent that has yet to see that the last QEMU is gone refuses its devices to the next one. */
  #start(host: string, role: "first-boot" | "incoming"): Promise<GuestQemu> {
    this.#instances += 1;
    return pollUntil(
      async () => {
        try {
          return await startInstance(this.identity, this.#diskPath, host, role, this.#instances);
        } catch (thrown) {
          if (SwitchoverError.from(thrown).reason === "DEVICE_IN_USE") return undefined;
          throw thrown;
        }
      },
      RELEASE_TIMEOUT_MS,
      `The devices of the guest on ${host}`,
      50,
    );
  }
}
