import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Migration, type MigrationSpec, Phase } from "../../../proto/gen/switchover/v1/migration.ts";
import { labLimits, type MigrationMode, type TransferLimits } from "../bare-migration.ts";
import { pollUntil } from "../deadline.ts";
import { createSharedDisk, type GuestQemu } from "../guest.ts";
import { livesIn } from "../guest-life.ts";
import type { ProbeReport, Prober } from "../probe.ts";
import type { QmpEvent } from "../qmp-connection.ts";
import { unixMicros } from "../realtime-clock.ts";
import type { LabHost } from "../topology.ts";
import { readDiskWitness } from "../witness/disk-witness.ts";
import { FdbWitness } from "../witness/fdb-witness.ts";
import { judgeFeed } from "../witness/feed-judgement.ts";
import {
  type Bounds,
  judgeRun,
  measureSwitchover,
  type SwitchoverFigures,
  type Verdict,
  type WitnessedRun,
} from "../witness/invariants.ts";
import { LinkWitness } from "../witness/link-witness.ts";
import { QmpWitness } from "../witness/qmp-witness.ts";
import type { FdbRecord, InstanceNics } from "../witness/records.ts";
import { RouteWitness } from "../witness/route-witness.ts";
import type { FeedObserver } from "./feed-observer.ts";
import { type GuestIdentity, labMigration, startInstance } from "./guest-instance.ts";
import { type LabNic, type LabWiring, routesOf } from "./wiring.ts";

export interface ManagedGuestOptions extends GuestIdentity {
  readonly observer: FeedObserver;
}

export interface ManagedCrossingOptions {
  readonly to: string;
  readonly mode: MigrationMode;
  /** How the destination is attached; default: as the guest was when it booted. Within one host, by other taps. */
  readonly wiring?: LabWiring;
  /** Default: the lab's. */
  readonly limits?: Partial<TransferLimits>;
  /**
   * `asked`: the control plane asks for the switch when QEMU has been copying for so long, as it does in a bare migration;
   * default: the coordinator counts from the beginning of the transfer.
   */
  readonly postCopy?: "by policy" | "asked";
  readonly probers?: readonly Prober[];
  /** `none`: nobody watches the kernels, where time counts; then only I4 and the feed are judged. */
  readonly kernelWitnesses?: "all" | "none";
  /** What the invariants allow; default: the design's. */
  readonly bounds?: Bounds;
  /** How long to watch after the migration has ended. */
  readonly watchAfterMs?: number;
  /** 0: no limit. A low one keeps pages flowing for long after the switch. */
  readonly maxPostCopyBandwidth?: number;
  /** Called when the destination's tap exists and its QEMU is adopted, before the migration is asked for. */
  readonly beforeStart?: (destination: GuestQemu) => Promise<void>;
  /** Called with the migration as soon as it was accepted, while it runs. */
  readonly whileRunning?: (migration: Migration, destination: GuestQemu) => Promise<void>;
  /** Who asks for the migration; default: the lab's control plane. */
  readonly start?: (requestId: string, spec: MigrationSpec) => Promise<Migration>;
  /** Whether the guest is expected to beat at the destination. */
  readonly guest?: "running" | "paused";
}

/** One migration through the coordinator, as seen from every side. */
export interface ManagedCrossing {
  readonly migration: Migration;
  readonly figures: SwitchoverFigures;
  readonly verdicts: readonly Verdict[];
  /** What is wrong with the feed, as an observer on NATS heard it. */
  readonly feedFaults: readonly string[];
  readonly guest: "alive" | "dead" | "paused";
  readonly probes: readonly ProbeReport[];
  readonly record: WitnessedRun;
  /** See QmpWitness. */
  readonly vmmDowntimeMs: number | undefined;
}

interface Witness {
  close(): Promise<readonly FdbRecord[]>;
}

const BOOT_TIMEOUT_MS = 30_000;
const MIGRATION_TIMEOUT_MS = 60_000;
const RELEASE_TIMEOUT_MS = 5_000;
const FEED_TIMEOUT_MS = 5_000;
/** Later than any of the lab's transfers is over. */
const NEVER_BY_POLICY_MS = 60_000;

/** A guest whose control plane uses Switchover: devices, adoption, start and migrations, all by gRPC. */
export class ManagedGuest {
  readonly diskPath: string;
  readonly #options: ManagedGuestOptions;
  #current: GuestQemu;
  #instances = 1;

  private constructor(options: ManagedGuestOptions, diskPath: string, first: GuestQemu) {
    this.#options = options;
    this.diskPath = diskPath;
    this.#current = first;
  }

  /** PrepareNics, QEMU `-S`, AdoptGuest, StartCpus; returns when the guest beats. */
  static async boot(options: ManagedGuestOptions, host: string): Promise<ManagedGuest> {
    const diskPath = join(options.lab.directory, `disk-${options.guestId}`);
    await createSharedDisk(diskPath, options.lab.topology.hosts.length);
    const first = await startInstance(options, diskPath, host, "first-boot", 1);
    await options.controlPlane.startCpus(host, options.guestId);
    await first.waitForHeartbeatAfter(0, BOOT_TIMEOUT_MS);
    return new ManagedGuest(options, diskPath, first);
  }

  /** The QEMU in which the guest is now. */
  get current(): GuestQemu {
    return this.#current;
  }

  /** Migrates the guest to another host and ends the QEMU that it came from. */
  async cross(options: ManagedCrossingOptions): Promise<ManagedCrossing> {
    const { controlPlane, guestId, lab } = this.#options;
    const { topology } = lab;
    const source = this.#current;
    await topology.flushDynamicEntries();
    const hosts = [...new Set([source.host, options.to])].map((name) => topology.host(name));
    const isWitnessed = options.kernelWitnesses !== "none";
    const witnesses = isWitnessed ? await this.#startWitnesses(hosts) : [];
    const sourceWitness = await QmpWitness.start(source);
    const fromUnixUs = unixMicros();
    this.#instances += 1;
    const { wiring = this.#options.wiring } = options;
    const destination = await startInstance(
      { ...this.#options, wiring },
      this.diskPath,
      options.to,
      "incoming",
      this.#instances,
    );
    const destinationWitness = await QmpWitness.start(destination);
    await options.beforeStart?.(destination);

    const start = options.start ?? ((requestId, spec) => controlPlane.startMigration(requestId, spec));
    const started = await start(
      `${guestId}-request-${this.#instances}`,
      labMigration(guestId, source, destination, {
        mode: options.mode,
        ...options.limits,
        ...(options.postCopy === "asked" ? { postCopyAfterMs: NEVER_BY_POLICY_MS } : {}),
        ...(options.maxPostCopyBandwidth === undefined
          ? {}
          : { maxPostCopyBandwidth: options.maxPostCopyBandwidth }),
      }),
    );
    const ended = controlPlane.ended(started.migrationId, MIGRATION_TIMEOUT_MS);
    // Awaited below; a failing `whileRunning` must not leave a second, unhandled failure behind.
    ended.catch(() => {});
    if (options.mode === "post-copy" && options.postCopy === "asked") {
      await sourceWitness.waitForEvent(isActive, MIGRATION_TIMEOUT_MS, "The transfer's start");
      await delay(options.limits?.postCopyAfterMs ?? labLimits(source.nics.length).postCopyAfterMs);
      await controlPlane.switchToPostCopy(started.migrationId);
    }
    await options.whileRunning?.(started, destination);
    const migration = await ended;
    const guest =
      options.guest === "paused" ? "paused" : await livesIn(destination, source.lastHeartbeat()?.seq ?? 0);

    await this.#options.observer.waitForPhase(migration.migrationId, migration.phase, FEED_TIMEOUT_MS);
    const toUnixUs = unixMicros() + (options.watchAfterMs ?? 1000) * 1000;
    const probes = await Promise.all(
      (options.probers ?? []).map((prober) => prober.report(fromUnixUs, toUnixUs)),
    );
    const fdb = (await Promise.all(witnesses.map((witness) => witness.close()))).flat();
    const record: WitnessedRun = {
      instances: [source, destination].map(withWitnessedNics),
      fdb,
      qmp: [sourceWitness, destinationWitness].flatMap((witness) => witness.records()),
      disk: await readDiskWitness(this.diskPath),
      window: { fromUnixUs, toUnixUs: unixMicros() },
    };
    const vmmDowntimeMs = await sourceWitness.downtimeMs();
    for (const witness of [sourceWitness, destinationWitness]) witness.close();
    if (migration.phase === Phase.COMPLETED) {
      await this.#endSource(source);
      this.#current = destination;
    }
    return {
      migration,
      figures: measureSwitchover(record, source.instance, destination.instance),
      verdicts: judgeRun(record, options.bounds).filter(({ invariant }) => isWitnessed || invariant === "I4"),
      feedFaults: judgeFeed(
        this.#options.observer.about(migration.migrationId).map(({ event }) => event),
        record.qmp,
      ),
      guest,
      probes,
      record,
      vmmDowntimeMs,
    };
  }

  /** Each bridge's entries, and each host's macvtaps and routes where the guest has some. */
  #startWitnesses(hosts: readonly LabHost[]): Promise<readonly Witness[]> {
    const { wiring } = this.#options;
    const macsOf = (wanted: LabNic["backend"]) =>
      wiring.nics.filter(({ backend }) => backend === wanted).map(({ mac }) => mac);
    const [taps, macvtaps, routes] = [macsOf("tap"), macsOf("macvtap"), routesOf(wiring)];
    return Promise.all(
      hosts.flatMap((host): Promise<Witness>[] => [
        ...(taps.length === 0 ? [] : [FdbWitness.start(host, taps)]),
        ...(macvtaps.length === 0 ? [] : [LinkWitness.start(host, macvtaps)]),
        ...(routes.length === 0 ? [] : [RouteWitness.start(host, routes)]),
      ]),
    );
  }

  /** The finished source is the control plane's to end; its agent then lets the devices go. */
  async #endSource(source: GuestQemu): Promise<void> {
    const { controlPlane, guestId } = this.#options;
    source.signal("SIGTERM");
    await source.waitForExit(5_000);
    source.heartbeats.close();
    await pollUntil(
      async () => {
        const instances = await controlPlane.instances(source.host, guestId);
        return instances.every(({ instanceId }) => instanceId !== source.instance) || undefined;
      },
      RELEASE_TIMEOUT_MS,
      `The release of ${source.instance}`,
    );
  }
}

function isActive({ data, name }: QmpEvent): boolean {
  return name === "MIGRATION" && data.status === "active";
}

/** QEMU's own network has no registration. */
function withWitnessedNics({ host, instance, nics }: GuestQemu): InstanceNics {
  return { host, instance, nics: nics.filter(({ tap }) => tap !== "") };
}
