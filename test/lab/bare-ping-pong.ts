import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type MacAddress, parseMacAddress } from "../../proto/mac-address.ts";
import {
  type BareMigrationReport,
  bootBare,
  type MigrationMode,
  migrateBare,
  quitBare,
} from "./bare-migration.ts";
import { createSharedDisk, type GuestQemu, type GuestRole, startGuestQemu } from "./guest.ts";
import type { GuestImage } from "./guest-image.ts";
import { livesIn } from "./guest-life.ts";
import type { Lab } from "./lab.ts";
import { createPlainTap, deleteTap } from "./plain-tap.ts";
import type { ProbeReport, Prober } from "./probe.ts";
import { unixMicros } from "./realtime-clock.ts";
import type { LabHost } from "./topology.ts";
import { readDiskWitness } from "./witness/disk-witness.ts";
import { FdbWitness, parseFdbShow } from "./witness/fdb-witness.ts";
import { measureSwitchover, type SwitchoverFigures, type WitnessedRun } from "./witness/invariants.ts";
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
}

export interface CrossingOptions {
  readonly to: string;
  readonly mode: MigrationMode;
  /**
   * `learned`: the bridges find the guest by themselves. `early`: the known mistake, a static (not sticky)
   * entry added on the destination when its QEMU is created, on a tap that does not learn, as on every bridge
   * whose MAC table is managed.
   */
  readonly destinationEntry?: "learned" | "early";
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

const TAP = "tap0";
/** The NICs beyond the first are down in the guest, and need no address that is theirs alone. */
const FURTHER_MAC_PREFIX = "52:54:00:5e:02:0";
const BOOT_TIMEOUT_MS = 30_000;
/** Long enough to see that the peer on the destination's bridge is cut off while the source still runs. */
const EARLY_BLACK_HOLE_MS = 300;

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

  /** Migrates the guest to another host and ends the QEMU that it came from. */
  async cross(options: CrossingOptions): Promise<Crossing> {
    const { topology } = this.#options.lab;
    const source = this.#current;
    const destinationHost = topology.host(options.to);
    const hosts = [topology.host(source.host), destinationHost];
    await topology.flushDynamicEntries();

    const fdbWitnesses = await Promise.all(hosts.map((host) => FdbWitness.start(host, [this.#options.mac])));
    const fromUnixUs = unixMicros();
    this.#instances += 1;
    const destination = await startOn(
      this.#options,
      this.diskPath,
      destinationHost,
      "incoming",
      this.#instances,
    );
    if (options.destinationEntry === "early") await this.#addEarlyEntry(destinationHost);
    const capture =
      options.capture === "frames" ? await TapCapture.start(destinationHost.namespace, TAP) : undefined;
    const qmpWitnesses = await Promise.all([source, destination].map((guest) => QmpWitness.start(guest)));
    const migration = await migrateBare({
      source,
      destination,
      destinationAddress: destinationHost.controlAddress,
      mode: options.mode,
    });
    const guest = await livesIn(destination, source.lastHeartbeat()?.seq ?? 0);
    const toUnixUs = migration.destinationResumeAtUnixUs + (options.watchAfterMs ?? 1000) * 1000;
    const probes = await Promise.all(
      (options.probers ?? []).map((prober) => prober.report(fromUnixUs, toUnixUs)),
    );

    const fdb = (await Promise.all(fdbWitnesses.map((witness) => witness.close()))).flat();
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
    for (const { tap } of source.nics) await deleteTap(topology.host(source.host).namespace, tap);
    if (options.destinationEntry === "early") await this.#undoEarlyEntry(hosts);
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

  /**
   * Then a peer beside the destination asks for the guest by ARP, as neighbours do now and then. The running
   * guest's answer comes in by the uplink and takes the entry there, for good: the tap does not learn.
   */
  async #addEarlyEntry(host: LabHost): Promise<void> {
    await host.namespace.bridge([
      `link set dev ${TAP} learning off flood off`,
      `fdb replace ${this.#options.mac} dev ${TAP} master static`,
    ]);
    await delay(EARLY_BLACK_HOLE_MS);
    const peer = this.#options.lab.topology.peers.find((candidate) => candidate.host === host.name);
    const guestAddress = this.#options.address.replace(/\/.*/, "");
    await peer?.namespace.run("busybox", [
      "arping",
      "-q",
      "-c",
      "1",
      "-w",
      "1",
      "-I",
      peer.link,
      guestAddress,
    ]);
  }

  /** Makes the guest reachable again, so that the next crossing starts from a sound network. */
  async #undoEarlyEntry(hosts: readonly LabHost[]): Promise<void> {
    for (const { namespace, bridge } of hosts) {
      const text = await namespace.run("bridge", ["-j", "fdb", "show", "br", bridge]);
      const entries = parseFdbShow(text, "", 0).filter(
        ({ mac, state }) => mac === this.#options.mac && state === "static",
      );
      await namespace.bridge(entries.map(({ mac, dev }) => `fdb delete ${mac} dev ${dev} master`));
    }
    await hosts[1]?.namespace.bridge([`link set dev ${TAP} learning on flood on`]);
  }
}

async function startOn(
  options: BareGuestOptions,
  diskPath: string,
  host: LabHost,
  role: GuestRole,
  number: number,
): Promise<GuestQemu> {
  const nics = Array.from({ length: options.nicCount ?? 1 }, (_, index) =>
    index === 0
      ? { tap: TAP, mac: options.mac }
      : { tap: `tap${index}`, mac: parseMacAddress(`${FURTHER_MAC_PREFIX}${index}`, "mac") },
  );
  for (const { tap } of nics) await createPlainTap(host.namespace, tap, host.bridge);
  return startGuestQemu({
    instance: `${host.name}-${number}`,
    role,
    host,
    hostCount: options.lab.topology.hosts.length,
    image: options.image,
    nics,
    address: options.address,
    diskPath,
    directory: options.lab.directory,
  });
}
