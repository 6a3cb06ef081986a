import { SwitchoverError } from "../../proto/error.ts";
import { checkNicDefinitions } from "../device/check-nics.ts";
import type { DeviceOwnership, NicPlace, NicProblem, Registered } from "../device/device.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import { findDrift, mendNics, type NicDrift, sentenceOfDrifts } from "../device/nic-mending.ts";
import type { HostDevices, PreparedNic } from "../device/nic-preparation.ts";
import { type ReleaseReport, releaseNicsAside } from "../device/nic-release.ts";
import {
  type ArmedNicSet,
  armNicSet,
  type NicReport,
  type StopReport,
  stopNics,
  verifyNics,
} from "../device/nic-set.ts";
import type { DevicesChange, DevicesMending, DevicesRelease, GuestDevices } from "../guest/guest-runner.ts";
import type { Link } from "../netlink/link.ts";

/** V8 has compiled by then what a stop runs. */
const REHEARSALS = 10;

/** The kernel, the NICs, what their preparation found, and the clock of the steps. */
type DevicesParts = readonly [
  host: HostDevices,
  nics: readonly NicDefinition[],
  prepared: readonly PreparedNic[],
  clockUs: () => number,
];

/**
 * An instance's devices as its gate works them: encoded when armed, sent when asked. Devices that this agent made go
 * away with `release`, others are left as they were found.
 */
export class PreparedDevices implements GuestDevices {
  readonly #host: HostDevices;
  readonly #clockUs: () => number;
  #nics: readonly NicDefinition[];
  #prepared: readonly PreparedNic[];
  #withheld: ReadonlySet<string> = new Set();
  /** Null while a device is not where it belongs. */
  #armed: ArmedNicSet | null = null;
  /** By NIC, the ifindex of its device, by which one that strayed is found. */
  readonly #known = new Map<string, number>();

  private constructor(...[host, nics, prepared, clockUs]: DevicesParts) {
    this.#host = host;
    this.#nics = nics;
    this.#prepared = prepared;
    this.#clockUs = clockUs;
  }

  /** Throws as `armNicSet` does. */
  static armed(...parts: DevicesParts): PreparedDevices {
    const devices = new PreparedDevices(...parts);
    devices.#knowAsPrepared();
    devices.#arm();
    return devices;
  }

  /**
   * Those of an instance that this agent remembers: some may be gone with their host's last boot, after which another
   * device may have the ifindex of one of them.
   */
  static remembered(boot: "ofPreparation" | "another", ...parts: DevicesParts): PreparedDevices {
    const devices = new PreparedDevices(...parts);
    if (boot === "ofPreparation") devices.#knowAsPrepared();
    devices.#armIfThere();
    return devices;
  }

  get nics(): readonly NicDefinition[] {
    return this.#nics;
  }

  get prepared(): readonly PreparedNic[] {
    return this.#prepared;
  }

  /** Those that are started and stopped. */
  get delivered(): readonly NicDefinition[] {
    return this.#nics.filter(({ nicId }) => !this.#withheld.has(nicId));
  }

  #held(): readonly NicDefinition[] {
    return this.#nics.filter(({ nicId }) => this.#withheld.has(nicId));
  }

  /** Also encodes anew what start and stop send. */
  withhold(nicIds: readonly string[]): void {
    if (nicIds.length === this.#withheld.size && nicIds.every((nicId) => this.#withheld.has(nicId))) return;
    this.#withheld = new Set(nicIds);
    this.#armAnew();
  }

  /** One device more, which is in quarantine. Throws as `armNicSet` does, nothing changed. */
  add(nic: NicDefinition, prepared: PreparedNic): void {
    checkNicDefinitions([...this.#nics, nic]);
    // One of the others may be missing for now, which is none of this one's business.
    armNicSet(this.#host.route, [nic], this.#clockUs);
    this.#nics = [...this.#nics, nic];
    this.#prepared = [...this.#prepared, prepared];
    this.#known.set(nic.nicId, prepared.ifindex);
    this.#armAnew();
  }

  /** Forgets the device and releases it, stopped or not. */
  remove(nicId: string): DevicesRelease {
    const removed = this.#nics.filter((nic) => nic.nicId === nicId);
    const ownerships = this.#ownerships();
    this.#nics = this.#nics.filter((nic) => nic.nicId !== nicId);
    this.#prepared = this.#prepared.filter((nic) => nic.nicId !== nicId);
    this.#known.delete(nicId);
    this.#armAnew();
    return this.#release(removed, ownerships);
  }

  /** The one NIC, registered and read back; or nothing of it. */
  startOne(nicId: string): DevicesChange {
    try {
      const report = armNicSet(this.#host.route, this.#only(nicId), this.#clockUs).start();
      return report.result === "started" ? { ok: true } : { ok: false, sentence: sentenceOf(report.nics) };
    } catch (thrown) {
      return { ok: false, sentence: SwitchoverError.from(thrown).message };
    }
  }

  stopOne(nicId: string): DevicesChange {
    return this.#stopWhereTheyAre(this.#only(nicId));
  }

  #only(nicId: string): readonly NicDefinition[] {
    return this.#nics.filter((nic) => nic.nicId === nicId);
  }

  #knowAsPrepared(): void {
    for (const { nicId, ifindex } of this.#prepared) this.#known.set(nicId, ifindex);
  }

  /** Throws as `armNicSet` does, with what was armed before still armed. */
  #arm(): void {
    const armed = armNicSet(this.#host.route, this.delivered, this.#clockUs);
    for (const { nicId } of armed.nics) {
      const place = armed.placeOf(nicId);
      if (place !== undefined) this.#known.set(nicId, place.deviceIfindex);
    }
    this.#armed = armed;
  }

  #armAnew(): void {
    this.#armed = null;
    this.#armIfThere();
  }

  /** What keeps the devices from being armed; undefined where they are. */
  #armIfThere(): string | undefined {
    try {
      if (this.#armed === null) this.#arm();
      return undefined;
    } catch (thrown) {
      return SwitchoverError.from(thrown).message;
    }
  }

  /**
   * Deregisters what is not registered, so that this code is compiled before a STOP needs it. Only for devices in
   * quarantine: it changes nothing there.
   */
  rehearse(): void {
    const times = this.#host.rehearsals ?? REHEARSALS;
    for (let time = 0; time < times; time++) this.stop();
  }

  /**
   * Looks the devices up again and encodes anew, so that switchover only sends. Throws as `armNicSet` does.
   * One read of what the kernel holds runs the code of start and stop before its first real use, which is five times
   * slower (1.4 ms for 8 NICs).
   */
  rearm(): void {
    verifyNics(this.#host.route, this.#nics);
    this.#arm();
  }

  /** A tap that this agent had put on its bridge is put there again first, where the bridge was made anew. */
  start(): DevicesChange {
    const started = this.#startArmed();
    if (started.ok || this.mend("registered").result === "mended") return { ok: true };
    // All or nothing: what could be mended is none that a guest runs with.
    this.stop();
    return started;
  }

  #startArmed(): DevicesChange {
    const missing = this.#armIfThere();
    if (this.#armed === null) return { ok: false, sentence: missing ?? "" };
    const report = this.#armed.start();
    return report.result === "started" ? { ok: true } : { ok: false, sentence: sentenceOf(report.nics) };
  }

  stop(): DevicesChange {
    this.#armIfThere();
    return this.#armed === null ? this.#stopWhereTheyAre(this.delivered) : stopped(this.#armed.stop());
  }

  /** Those that are gone have lost their registrations with that (trap 4); those that strayed have not. */
  #stopWhereTheyAre(nics: readonly NicDefinition[]): DevicesChange {
    try {
      return stopped(stopNics(this.#host.route, nics, this.#known, this.#clockUs));
    } catch (thrown) {
      return { ok: false, sentence: SwitchoverError.from(thrown).message };
    }
  }

  /** Where each NIC is, as far as this was looked up last. */
  placeOf(nicId: string): NicPlace | undefined {
    return this.#armed?.placeOf(nicId);
  }

  /** How the NICs differ from what `registered` says. Throws as `RoutePort.execute` does. */
  findDrift(registered: Registered): readonly NicDrift[] {
    const { route } = this.#host;
    const held = this.#held();
    return [
      ...findDrift(route, this.delivered, registered, this.#known),
      ...(held.length === 0 ? [] : findDrift(route, held, "quarantined", this.#known)),
    ];
  }

  /** What `registered` means for that NIC. */
  registeredAs(nicId: string, registered: Registered): Registered {
    return this.#withheld.has(nicId) ? "quarantined" : registered;
  }

  mend(registered: Registered): DevicesMending {
    try {
      const { route } = this.#host;
      const ownerships = this.#ownerships();
      const held = this.#held();
      const left = [
        ...mendNics(route, this.delivered, ownerships, registered, this.#known),
        ...(held.length === 0 ? [] : mendNics(route, held, ownerships, "quarantined", this.#known)),
      ];
      if (left.length === 0) {
        this.#rearmIfAllThere();
        return { result: "mended" };
      }
      const sentence = sentenceOfDrifts(left);
      return { result: left.every(({ extent }) => extent === "missing") ? "missing" : "refused", sentence };
    } catch (thrown) {
      return { result: "refused", sentence: SwitchoverError.from(thrown).message };
    }
  }

  /** A device that was created again is another one: the next stop must not have to look for it. */
  #rearmIfAllThere(): void {
    try {
      this.#arm();
    } catch {
      // A quarantined device may be missing; what is armed looks it up when it comes to that.
    }
  }

  #ownerships(): ReadonlyMap<string, DeviceOwnership> {
    return new Map(this.#prepared.map(({ nicId, ownership }) => [nicId, ownership]));
  }

  /** `around`: what was read of the links that stand on others. */
  release(around?: readonly Link[]): DevicesRelease {
    return this.#release(this.#nics, this.#ownerships(), around);
  }

  /** What could not be read is left, and said: whoever asked has no use for what was thrown. */
  #release(
    nics: readonly NicDefinition[],
    ownerships: ReadonlyMap<string, DeviceOwnership>,
    around?: readonly Link[],
  ): DevicesRelease {
    try {
      const { reports, parents } = releaseNicsAside(this.#host, nics, ownerships, around);
      return { ...changeOf(reports), ...(parents === undefined ? {} : { parents: parents.then(changeOf) }) };
    } catch (thrown) {
      return { ok: false, sentence: SwitchoverError.from(thrown).message };
    }
  }
}

function changeOf(reports: readonly ReleaseReport[]): DevicesChange {
  const problems = reports.flatMap(({ problem }) => (problem === undefined ? [] : [problem.sentence]));
  return problems.length === 0 ? { ok: true } : { ok: false, sentence: problems.join(" ") };
}

function stopped(report: StopReport): DevicesChange {
  return report.result === "stopped" ? { ok: true } : { ok: false, sentence: sentenceOf(report.nics) };
}

type Outcome = { readonly result: string; readonly problem?: NicProblem };

function sentenceOf(reports: readonly NicReport<Outcome>[]): string {
  return reports
    .flatMap(({ nicId, outcome }) =>
      outcome.problem === undefined ? [] : [`${nicId}: ${outcome.problem.sentence}`],
    )
    .join(" ");
}
