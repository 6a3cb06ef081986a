import { EntryMobility, MacTableManager, NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import type { HostClock } from "../../services/clock/host-clock.ts";
import type { Random } from "../simulation/engine/random.ts";
import { SimulatedGuest } from "../simulation/model/guest.ts";
import { BRIDGE } from "../simulation/model/host.ts";
import { type IncomingPorts, Qemu } from "../simulation/model/qemu.ts";
import type { PretendedHost } from "./pretended-host.ts";
import type { WallTimeline } from "./wall-timeline.ts";

/** What all guests of one process share. */
export interface GuestGround {
  readonly clock: HostClock;
  readonly timeline: WallTimeline;
  readonly random: Random;
  readonly ports: IncomingPorts;
  /** How long a guest's memory is copied before its CPUs move, about: each guest's own between these. */
  readonly copyMs: readonly [least: number, most: number];
  /** How long the rest takes in post-copy. */
  readonly pagesMs: number;
  readonly onViolation: (sentence: string) => void;
}

interface Instance {
  readonly instanceId: string;
  readonly deviceName: string;
  readonly host: PretendedHost;
  readonly qemu: Qemu;
}

export type Whereabouts = "source" | "destination" | "nowhere" | "both";

/**
 * A guest with one NIC that runs on its source, with a QEMU at its destination that waits for it: what a control plane
 * has made before it asks for the migration.
 */
export class FleetGuest {
  readonly guestId: string;
  readonly source: Instance;
  readonly destination: Instance;
  readonly #macAddress: string;
  readonly #guest: SimulatedGuest;

  private constructor(
    guestId: string,
    number: number,
    hosts: readonly [PretendedHost, PretendedHost],
    ground: GuestGround,
  ) {
    this.guestId = guestId;
    this.#macAddress = macAddressOf(number);
    this.#guest = new SimulatedGuest(guestId, [this.#macAddress]);
    const [source, destination] = hosts;
    this.source = this.#startQemu(`${guestId}-a`, `a${number}`, source, ground, "boot");
    this.destination = this.#startQemu(`${guestId}-b`, `b${number}`, destination, ground, "incoming");
    this.#guest.onResume = () => {
      if (this.#guest.qemus.filter(({ isRunning }) => isRunning).length > 1)
        ground.onViolation(`I4: ${guestId} runs twice.`);
    };
  }

  /** Runs at its source once this resolves. `number` is this guest's alone in the fleet. */
  static async boot(
    guestId: string,
    number: number,
    hosts: readonly [PretendedHost, PretendedHost],
    ground: GuestGround,
  ): Promise<FleetGuest> {
    const guest = new FleetGuest(guestId, number, hosts, ground);
    await guest.#adopt(guest.source);
    await guest.source.host.agent.startCpus({
      guestId,
      instanceId: guest.source.instanceId,
      runsNowhereElse: true,
    });
    await guest.#adopt(guest.destination);
    return guest;
  }

  /** Whose CPUs run. */
  get runs(): Whereabouts {
    return whereabouts(this.source.qemu.isRunning, this.destination.qemu.isRunning);
  }

  /** Whose bridge leads to it. */
  get registered(): Whereabouts {
    return whereabouts(this.#isRegistered(this.source), this.#isRegistered(this.destination));
  }

  /** What its life has come to that must not be, in words; null where all is well. */
  get wentBackwards(): string | null {
    return this.#guest.wentBackwards;
  }

  /** Ends both QEMUs, as a control plane does once nobody has a use for them. */
  end(): void {
    for (const { host, qemu } of [this.source, this.destination]) {
      qemu.kill();
      host.simulated.qemus.delete(pathOf(qemu));
    }
  }

  #startQemu(
    instanceId: string,
    deviceName: string,
    host: PretendedHost,
    ground: GuestGround,
    role: "boot" | "incoming",
  ): Instance {
    const { copyMs, pagesMs, ports, random, timeline } = ground;
    const parts = { version: "7.2", timeline, random, guest: this.#guest, ports } as const;
    const durations = { copyUs: random.between(...copyMs) * 1_000, pagesUs: pagesMs * 1_000 };
    const qemu = new Qemu({ name: instanceId, ...parts, ...durations }, role);
    this.#guest.qemus.push(qemu);
    host.simulated.qemus.set(pathOf(qemu), qemu);
    return { instanceId, deviceName, host, qemu };
  }

  async #adopt({ deviceName, host, instanceId, qemu }: Instance): Promise<void> {
    const { guestId } = this;
    const nics = [nicOf(this.#macAddress, deviceName)];
    await host.agent.prepareNics({ guestId, instanceId, nics, validateOnly: false });
    const qmpPath = pathOf(qemu);
    await host.agent.adoptGuest({ guestId, instanceId, qmpPath, externalCpuSource: undefined });
  }

  #isRegistered({ deviceName, host: { simulated } }: Instance): boolean {
    const device = simulated.kernel.link(deviceName);
    return (
      device !== undefined && simulated.kernel.entry(BRIDGE, this.#macAddress)?.ifindex === device.ifindex
    );
  }
}

function whereabouts(atSource: boolean, atDestination: boolean): Whereabouts {
  if (atSource) return atDestination ? "both" : "source";
  return atDestination ? "destination" : "nowhere";
}

function pathOf(qemu: Qemu): string {
  return `/run/${qemu.parts.name}.qmp`;
}

function macAddressOf(number: number): string {
  const digits = number.toString(16).padStart(6, "0");
  return `52:54:00:${digits.slice(0, 2)}:${digits.slice(2, 4)}:${digits.slice(4, 6)}`;
}

function nicOf(macAddress: string, deviceName: string): NicDefinition {
  return NicDefinition.fromPartial({
    nicId: "net0",
    macAddress,
    device: {
      $case: "tapOnBridge",
      value: {
        deviceName,
        bridge: BRIDGE,
        macTableManager: MacTableManager.SWITCHOVER,
        entryMobility: EntryMobility.STICKY,
      },
    },
  });
}
