import type { TransferLimits } from "../../lab/bare-migration.ts";
import { BareGuest } from "../../lab/bare-ping-pong.ts";
import type { ManagedGuest } from "../../lab/managed/managed-guest.ts";
import {
  BARE_ADDRESS,
  BARE_MAC,
  GUEST_ADDRESS,
  GUEST_ID,
  GUEST_MAC,
  type ManagedLab,
  openManagedLab,
} from "../../lab/managed/managed-lab.ts";
import { type Prober, withProbers } from "../../lab/probe.ts";
import { AFTER_RESUME_MS, type Measured, measureBare, measureManaged } from "./measured.ts";
import type { Attachment, Item } from "./plan.ts";

export interface ContenderOptions {
  readonly seed: number;
  readonly kernelWitnesses: "all" | "none";
  readonly probeIntervalMs: number;
  /** `idle` takes no time from the hosts, but on a loaded machine the coordinator gets none. */
  readonly coordinatorScheduling: "idle" | "normal";
}

/**
 * The same for every contender: half as long a transfer as the lab's own, whose last pass may be as large. QEMU stops the
 * guest when less is left than bandwidth times limit: with less than this it makes a second pass first, in which the
 * emulator loses writes and kills guests.
 */
export function benchLimits(nics: Attachment["nics"]): TransferLimits {
  return { maxBandwidth: 60_000_000, downtimeLimitMs: nics === 1 ? 50 : 100, postCopyAfterMs: 750 };
}

/**
 * Two guests in one lab, alike but that one of them is managed. Who is not measured stands still. The coordinator, which has
 * a machine of its own elsewhere and is asked for nothing between STOP and RESUME, gets what time the hosts leave, unless told otherwise.
 */
export class LabOfContenders {
  readonly #managed: ManagedLab;
  readonly #options: ContenderOptions;
  readonly #attachment: Attachment;
  #gated: ManagedGuest | undefined;
  #free: BareGuest | undefined;
  #runs: "gated" | "free" | "none" = "none";

  private constructor(managed: ManagedLab, attachment: Attachment, options: ContenderOptions) {
    this.#managed = managed;
    this.#attachment = attachment;
    this.#options = options;
  }

  static async open(attachment: Attachment, options: ContenderOptions): Promise<LabOfContenders> {
    const { device, nics } = attachment;
    const wiring =
      device === "tap" ? (nics === 1 ? "tap" : "tap-8") : nics === 1 ? "macvtap-bridge" : "macvtap-bridge-8";
    const managed = await openManagedLab({
      wiring,
      cluster: { natsServer: "own", coordinatorScheduling: options.coordinatorScheduling },
    });
    return new LabOfContenders(managed, attachment, options);
  }

  async measure(item: Item): Promise<Measured> {
    return item.contender === "switchover" ? this.#measureGated(item) : this.#measureFree(item);
  }

  close(): Promise<void> {
    return this.#managed.close();
  }

  async #measureGated(item: Item): Promise<Measured> {
    const guest = await this.#gatedAlone();
    const { kernelWitnesses, seed } = this.#options;
    const crossing = await this.#probed({ target: GUEST_ADDRESS, targetMac: GUEST_MAC }, (probers) =>
      guest.cross({
        to: otherThan(guest.current.host),
        mode: item.mode,
        limits: benchLimits(item.nics),
        postCopy: "asked",
        kernelWitnesses,
        probers,
        watchAfterMs: AFTER_RESUME_MS,
      }),
    );
    return measureManaged(item, seed, crossing, kernelWitnesses === "all");
  }

  async #measureFree(item: Item): Promise<Measured> {
    const guest = await this.#freeAlone();
    const { kernelWitnesses, seed } = this.#options;
    const crossing = await this.#probed({ target: BARE_ADDRESS, targetMac: BARE_MAC }, (probers) =>
      guest.cross({
        to: otherThan(guest.current.host),
        mode: item.mode,
        destinationEntry:
          item.contender === "early" || item.contender === "shell" ? item.contender : "learned",
        limits: benchLimits(item.nics),
        kernelWitnesses,
        probers,
        watchAfterMs: AFTER_RESUME_MS,
      }),
    );
    return measureBare(item, seed, crossing, kernelWitnesses === "all");
  }

  #probed<T>(
    target: { readonly target: string; readonly targetMac: typeof GUEST_MAC },
    run: (probers: readonly Prober[]) => Promise<T>,
  ): Promise<T> {
    const { peers } = this.#managed.lab.topology;
    return withProbers(peers, { ...target, intervalMs: this.#options.probeIntervalMs }, run);
  }

  async #gatedAlone(): Promise<ManagedGuest> {
    if (this.#runs === "free") await this.#free?.pause();
    if (this.#gated === undefined) this.#gated = await this.#managed.bootGuest("ha");
    else if (this.#runs !== "gated") {
      await this.#managed.controlPlane.startCpus(this.#gated.current.host, GUEST_ID);
    }
    this.#runs = "gated";
    return this.#gated;
  }

  async #freeAlone(): Promise<BareGuest> {
    if (this.#runs === "gated" && this.#gated !== undefined) {
      await this.#managed.controlPlane.stopCpus(this.#gated.current.host, GUEST_ID);
    }
    const { device, nics: nicCount } = this.#attachment;
    const { image, lab } = this.#managed;
    if (this.#free === undefined) {
      const options = { lab, image, mac: BARE_MAC, address: `${BARE_ADDRESS}/24`, nicCount, device };
      this.#free = await BareGuest.boot(options, "ha");
    } else if (this.#runs !== "free") await this.#free.resume();
    this.#runs = "free";
    return this.#free;
  }
}

function otherThan(host: string): string {
  return host === "ha" ? "hb" : "ha";
}
