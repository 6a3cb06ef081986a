import { SwitchoverError } from "../../proto/error.ts";
import type { DeviceOwnership, NicPlace, NicProblem, Registered } from "../device/device.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import { findDrift, mendNics, type NicDrift } from "../device/nic-mending.ts";
import { type HostDevices, type PreparedNic, releaseNics } from "../device/nic-preparation.ts";
import { type ArmedNicSet, armNicSet, type NicReport, verifyNics } from "../device/nic-set.ts";
import type { DevicesChange, DevicesMending, GuestDevices } from "../guest/guest-runner.ts";

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
  readonly #nics: readonly NicDefinition[];
  readonly #prepared: readonly PreparedNic[];
  readonly #clockUs: () => number;
  /** Null while a device is not where it belongs. */
  #armed: ArmedNicSet | null = null;

  private constructor(...[host, nics, prepared, clockUs]: DevicesParts) {
    this.#host = host;
    this.#nics = nics;
    this.#prepared = prepared;
    this.#clockUs = clockUs;
  }

  /** Throws as `armNicSet` does. */
  static armed(...parts: DevicesParts): PreparedDevices {
    const devices = new PreparedDevices(...parts);
    devices.#armed = armNicSet(devices.#host.route, devices.#nics, devices.#clockUs);
    return devices;
  }

  /** Those of an instance that this agent remembers: some may be gone with their host's last boot. */
  static remembered(...parts: DevicesParts): PreparedDevices {
    const devices = new PreparedDevices(...parts);
    devices.#armIfThere();
    return devices;
  }

  /** What keeps the devices from being armed; undefined where they are. */
  #armIfThere(): string | undefined {
    try {
      this.#armed ??= armNicSet(this.#host.route, this.#nics, this.#clockUs);
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
    for (let time = 0; time < REHEARSALS; time++) this.stop();
  }

  /**
   * Looks the devices up again and encodes anew, so that switchover only sends. Throws as `armNicSet` does.
   * One read of what the kernel holds runs the code of start and stop before its first real use, which is five times
   * slower (1.4 ms for 8 NICs).
   */
  rearm(): void {
    verifyNics(this.#host.route, this.#nics);
    this.#armed = armNicSet(this.#host.route, this.#nics, this.#clockUs);
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
    if (this.#armed === null) return this.#stopThoseThere();
    const report = this.#armed.stop();
    return report.result === "stopped" ? { ok: true } : { ok: false, sentence: sentenceOf(report.nics) };
  }

  /** A device that is gone, or off its bridge, has lost its entries with that: trap 4. */
  #stopThoseThere(): DevicesChange {
    const sentences = this.#nics.flatMap((nic) => {
      try {
        const report = armNicSet(this.#host.route, [nic], this.#clockUs).stop();
        return report.result === "stopped" ? [] : [sentenceOf(report.nics)];
      } catch (thrown) {
        const error = SwitchoverError.from(thrown);
        return error.code === "FAILED_PRECONDITION" ? [] : [error.message];
      }
    });
    return sentences.length === 0 ? { ok: true } : { ok: false, sentence: sentences.join(" ") };
  }

  /** Where each NIC is, as far as this was looked up last. */
  placeOf(nicId: string): NicPlace | undefined {
    return this.#armed?.placeOf(nicId);
  }

  /** How the NICs differ from what `registered` says. Throws as `RoutePort.execute` does. */
  findDrift(registered: Registered): readonly NicDrift[] {
    return findDrift(this.#host.route, this.#nics, registered);
  }

  mend(registered: Registered): DevicesMending {
    try {
      const left = mendNics(this.#host.route, this.#nics, this.#ownerships(), registered);
      if (left.length === 0) {
        this.#rearmIfAllThere();
        return { result: "mended" };
      }
      const sentence = left.map(({ nicId, problem }) => `${nicId}: ${problem.sentence}`).join(" ");
      return { result: left.every(({ extent }) => extent === "missing") ? "missing" : "refused", sentence };
    } catch (thrown) {
      return { result: "refused", sentence: SwitchoverError.from(thrown).message };
    }
  }

  /** A device that was created again is another one: the next stop must not have to look for it. */
  #rearmIfAllThere(): void {
    try {
      this.#armed = armNicSet(this.#host.route, this.#nics, this.#clockUs);
    } catch {
      // A quarantined device may be missing; what is armed looks it up when it comes to that.
    }
  }

  #ownerships(): ReadonlyMap<string, DeviceOwnership> {
    return new Map(this.#prepared.map(({ nicId, ownership }) => [nicId, ownership]));
  }

  release(): DevicesChange {
    const reports = releaseNics(this.#host.route, this.#nics, this.#ownerships(), "delete");
    const problems = reports.flatMap(({ problem }) => (problem === undefined ? [] : [problem.sentence]));
    return problems.length === 0 ? { ok: true } : { ok: false, sentence: problems.join(" ") };
  }
}

type Outcome = { readonly result: string; readonly problem?: NicProblem };

function sentenceOf(reports: readonly NicReport<Outcome>[]): string {
  return reports
    .flatMap(({ nicId, outcome }) =>
      outcome.problem === undefined ? [] : [`${nicId}: ${outcome.problem.sentence}`],
    )
    .join(" ");
}
