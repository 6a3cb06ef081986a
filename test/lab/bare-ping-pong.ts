import { join } from "node:path";
import type { MacAddress } from "../../proto/mac-address.ts";
import {
  type BareMigrationReport,
  bootBare,
  type MigrationMode,
  migrateBare,
  quitBare,
  type TransferLimits,
} from "./bare-migration.ts";
import { type BareDevice, createBareNics, deleteBareNics } from "./bare-nics.ts";
import { type Attachment, prepareShell, registerEarly, returnToLearning } from "./bare-registration.ts";
import { createSharedDisk, type GuestQemu, type GuestRole, startGuestQemu } from "./guest.ts";
import type { GuestImage } from "./guest-image.ts";
import { livesIn } from "./guest-life.ts";
import type { Lab } from "./lab.ts";
import type { ProbeReport, Prober } from "./probe.ts";
import { QmpConnection } from "./qmp-connection.ts";
import { unixMicros } from "./realtime-clock.ts";
import type { LabHost } from "./topology.ts";
import { readDiskWitness } from "./witness/disk-witness.ts";
import { FdbWitness } from "./witness/fdb-witness.ts";
import { measureSwitchover, type SwitchoverFigures, type WitnessedRun } from "./witness/invariants.ts";
import { LinkWitness } from "./witness/link-witness.ts";
import { QmpWitness } from "./witness/qmp-witness.ts";
import type { FrameRecord } from "./witness/records.ts";
import { TapCapture } from "./witness/tap-capture.ts";

export interface BareGuestOptions {
  readonly lab: Lab;
  readonly image: GuestImage;
  readonly mac: MacAddress;
  /** With prefix length, in the peers' subnet. */
  readonly address: string;
  /** Default 1. As many as the guest has that is compared with this one: each has a state of its own to load. */
  readonly nicCount?: number;
  /** Default `tap`. */
  readonly device?: BareDevice;
}

export interface CrossingOptions {
  readonly to: string;
  readonly mode: MigrationMode;
  /**
   * `learned`: the bridges find the guest by themselves. `early`: the known mistake, a static (not sticky)
   * entry added on the destination when its QEMU is created, on a tap that does not learn, as on every bridge
   * whose MAC table is managed. `shell`: removed and added by forked programs around the switch.
   */
  readonly destinationEntry?: "learned" | "early" | "shell";
  /** Default: the lab's. */
  readonly limits?: Partial<TransferLimits>;
  /** `none`: nobody watches the bridges, where time counts. */
  readonly kernelWitnesses?: "all" | "none";
  /** `frames` records what passes the destination's tap. */
  readonly capture?: "frames" | "nothing";
  readonly probers?: readonly Prober[];
  /** How long to watch after the guest runs at the destination. */
  readonly watchAfterMs?: number;
}

/** One migration as seen from every side. */
export interface Crossing {
  readonly migration: BareMigrationReport;
  readonly figures: SwitchoverFigures;
  /** Whether the guest's heartbeat went on at the destination: a dead guest is not a lost network. */
  readonly guest: "alive" | "dead";
  /** From before the destination's QEMU to the end of the watch: what the whole migration cost each peer. */
  readonly probes: readonly ProbeReport[];
  readonly record: WitnessedRun;
  /** See QmpWitness. */
  readonly vmmDowntimeMs: number | undefined;
  /** On the destination's tap; empty unless captured. */
  readonly frames: readonly FrameRecord[];
}

const BOOT_TIMEOUT_MS = 30_000;
/** A guest that is migrated to and fro by QEMU alone, as often as wanted; one fresh tap and QEMU each time. */
export class BareGuest {
  readonly diskPath: string;
  readonly #options: BareGuestOptions;
  #current: GuestQemu;
  #instances = 1;

  private constructor(options: BareGuestOptions, diskPath: string, first: GuestQemu) {
    this.#options = options;
    this.diskPath = diskPath;
    this.#current = first;
  }

  /** Boots the guest on `host` and returns when it beats. Everything is removed when the lab closes. */
  static async boot(options: BareGuestOptions, host: string): Promise<BareGuest> {
    const diskPath = join(options.lab.directory, "disk");
    await createSharedDisk(diskPath, options.lab.topology.hosts.length);
    const labHost = options.lab.topology.host(host);
    const first = await startOn(options, diskPath, labHost, "first-boot", 1);
    await bootBare(first);
    await first.waitForHeartbeatAfter(0, BOOT_TIMEOUT_MS);
    return new BareGuest(options, diskPath, first);
  }

  /** The QEMU in which the guest runs now. */
  get current(): GuestQemu {
    return this.#current;
  }

  /** Stops the CPUs until `resume`: an idle guest costs those of others time. */
  pause(): Promise<void> {
    return this.#order("stop");
  }

  resume(): Promise<void> {
    return this.#order("cont");
  }

  /** Migrates the guest to another host and ends the QEMU that it came from. */
  async cross(options: CrossingOptions): Promise<Crossing> {
    const { topology } = this.#options.lab;
    const source = this.#current;
    const destinationHost = topology.host(options.to);
    const hosts = [topology.host(source.host), destinationHost];
    await topology.flushDynamicEntries();

    const { device = "tap", mac } = this.#options;
    const witnesses = await Promise.all(
      options.kernelWitnesses === "none"
        ? []
        : hosts.map((host) => (device === "tap" ? FdbWitness : LinkWitness).start(host, [mac])),
    );
    const fromUnixUs = unixMicros();
    this.#instances += 1;
    const destination = await startOn(
      this.#options,
      this.diskPath,
      destinationHost,
      "incoming",
      this.#instances,
    );
    const [from, to] = [source, destination].map((guest) => this.#attachmentOf(guest)) as [
      Attachment,
      Attachment,
    ];
    if (options.destinationEntry === "early" && device === "tap") {
      await registerEarly(to, topology, this.#options.address.replace(/\/.*/, ""));
    }
    const gate = options.destinationEntry === "shell" ? await prepareShell(device, from, to) : undefined;
    const capture =
      options.capture === "frames"
        ? await TapCapture.start(destinationHost.namespace, `${device}0`)
        : undefined;
    const qmpWitnesses = await Promise.all([source, destination].map((guest) => QmpWitness.start(guest)));
    const migration = await migrateBare({
      source,
      destination,
      destinationAddress: destinationHost.controlAddress,
      mode: options.mode,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
      ...(gate === undefined ? {} : { gate }),
    });
    const guest = await livesIn(destination, source.lastHeartbeat()?.seq ?? 0);
    const toUnixUs = migration.destinationResumeAtUnixUs + (options.watchAfterMs ?? 1000) * 1000;
    const probes = await Promise.all(
      (options.probers ?? []).map((prober) => prober.report(fromUnixUs, toUnixUs)),
    );

    const fdb = (await Promise.all(witnesses.map((witness) => witness.close()))).flat();
    const record: WitnessedRun = {
      instances: [source, destination],
      fdb,
      qmp: qmpWitnesses.flatMap((witness) => witness.records()),
      disk: await readDiskWitness(this.diskPath),
      window: { fromUnixUs, toUnixUs: unixMicros() },
    };
    const frames = (await capture?.close()) ?? [];
    const vmmDowntimeMs = await qmpWitnesses[0]?.downtimeMs();
    for (const witness of qmpWitnesses) witness.close();
    await quitBare(source);
    await deleteBareNics(from.host, source.nics);
    if (device === "tap" && (options.destinationEntry ?? "learned") !== "learned") {
      await returnToLearning(to, [from.host]);
    }
    this.#current = destination;
    return {
      migration,
      figures: measureSwitchover(record, source.instance, destination.instance),
      guest,
      probes,
      record,
      vmmDowntimeMs,
      frames,
    };
  }

  #attachmentOf({ host, nics }: GuestQemu): Attachment {
    return { host: this.#options.lab.topology.host(host), nics };
  }

  async #order(command: "stop" | "cont"): Promise<void> {
    const connection = await QmpConnection.open(this.#current.qmpAgentPath);
    try {
      await connection.execute(command);
    } finally {
      connection.close();
    }
  }
}

async function startOn(
  options: BareGuestOptions,
  diskPath: string,
  host: LabHost,
  role: GuestRole,
  number: number,
): Promise<GuestQemu> {
  const { device = "tap", lab, mac, nicCount: count = 1 } = options;
  const instance = `${host.name}-${number}`;
  return startGuestQemu({
    instance,
    role,
    host,
    hostCount: lab.topology.hosts.length,
    image: options.image,
    nics: await createBareNics(host, { device, count, mac }, join(lab.directory, instance)),
    address: options.address,
    diskPath,
    directory: lab.directory,
  });
}
