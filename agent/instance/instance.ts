import type { Fence } from "../../proto/epoch.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestInstance } from "../../proto/gen/switchover/v1/guest.ts";
import type { GuestId, InstanceId } from "../../proto/ids.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import type { PreparedNic } from "../device/nic-preparation.ts";
import { adopt } from "../guest/adopt.ts";
import { GuestRunner, type PublishGuestEvent } from "../guest/guest-runner.ts";
import { TransferProgressReader } from "../guest/transfer-progress-reader.ts";
import type { HostAgentPorts } from "../host-agent-ports.ts";
import type { Journal } from "../journal/journal.ts";
import type { JournalWord } from "../journal/journal-entry.ts";
import type { Vmm, VmmEvent } from "../vmm/vmm.ts";
import type { VmmFeatures } from "../vmm/vmm-features.ts";
import { toInstanceMessage } from "./instance-message.ts";
import type { PreparedDevices } from "./prepared-devices.ts";

export interface InstanceParts {
  readonly ports: HostAgentPorts;
  readonly guestId: GuestId;
  readonly instanceId: InstanceId;
  readonly nics: readonly NicDefinition[];
  readonly prepared: readonly PreparedNic[];
  readonly devices: PreparedDevices;
  readonly journal: Journal;
  readonly publish: PublishGuestEvent;
  readonly released: () => void;
}

/** A switchover is over by then. A killed agent loses nothing meanwhile; a host that dies loses its QEMU too. */
const SYNC_AFTER_MS = 50;

/** What an instance is once its VMM is under the gate. */
export interface Adopted {
  readonly runner: GuestRunner;
  readonly vmm: Vmm;
  readonly features: VmmFeatures;
  readonly qmpPath: string;
  readonly progress: TransferProgressReader;
}

/** One VMM of a guest on this host, from the preparation of its devices to their release. */
export class Instance {
  readonly #parts: InstanceParts;
  #adopted: Adopted | null = null;
  #endHandOffs: () => void = () => {};
  #sync: "due" | "done" = "done";
  /** Where the source's VMM connects to; null before the incoming side was opened. */
  incomingUri: string | null = null;
  /** Whether `migrate` was sent under the present epoch. */
  transfer: "notBegun" | "begun" = "notBegun";

  constructor(parts: InstanceParts) {
    this.#parts = parts;
  }

  get guestId(): GuestId {
    return this.#parts.guestId;
  }

  get instanceId(): InstanceId {
    return this.#parts.instanceId;
  }

  get nics(): readonly NicDefinition[] {
    return this.#parts.nics;
  }

  get prepared(): readonly PreparedNic[] {
    return this.#parts.prepared;
  }

  get devices(): PreparedDevices {
    return this.#parts.devices;
  }

  get journal(): Journal {
    return this.#parts.journal;
  }

  /** Null until AdoptGuest. */
  get adopted(): Adopted | null {
    return this.#adopted;
  }

  /** Throws FAILED_PRECONDITION / NOT_ADOPTED before AdoptGuest. */
  requireAdopted(): Adopted {
    if (this.#adopted !== null) return this.#adopted;
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `Instance ${this.instanceId} of guest ${this.guestId} has devices here but no VMM yet: call AdoptGuest.`,
      { reason: "NOT_ADOPTED", field: "instance_id" },
    );
  }

  message(): GuestInstance {
    return toInstanceMessage(this.requireAdopted().runner.guest, this.nics);
  }

  /** Whether its VMM is known to be gone, so that others may have its devices. */
  isAbandoned(): boolean {
    return this.#adopted?.runner.guest.vmm === "lost";
  }

  /** Connects to the VMM and takes its CPUs under the gate. What the VMM says meanwhile is heard in order after. */
  async adopt(qmpPath: string, fence: Fence): Promise<void> {
    const { ports, guestId, instanceId, devices, publish, released } = this.#parts;
    const early: VmmEvent[] = [];
    let hear = (event: VmmEvent): void => void early.push(event);
    const vmm = await ports.openVmm(qmpPath, (event) => hear(event));
    try {
      const features = await vmm.describeFeatures();
      const status = await vmm.queryStatus();
      this.#write({ kind: "adopted", qmpPath });
      const runner = new GuestRunner(
        {
          vmm,
          devices,
          clock: ports.clock,
          log: ports.log,
          handOffs: ports.handOffs,
          journal: (word) => this.#write(word),
          publish,
          released,
          rule: ports.rule,
          beforeOperation: ports.beforeOperation,
        },
        adopt({
          guestId,
          instanceId,
          hostId: ports.hostId,
          fence,
          runState: status.runStateText,
          running: status.running,
        }),
      );
      const progress = new TransferProgressReader(vmm, runner, ports.clock, publish);
      this.#adopted = { runner, vmm, features, qmpPath, progress };
      hear = (event) => {
        progress.hearVmm(event);
        if (event.kind === "disconnected") void this.#judgeDisconnection(event);
        else runner.hearVmm(event);
      };
      for (const event of early.splice(0)) hear(event);
    } catch (thrown) {
      vmm.close();
      throw thrown;
    }
  }

  /**
   * A closed QMP socket is a dead VMM only if nobody listens on it any more. One that lives keeps its registrations:
   * cutting a running guest off would be worse than not hearing it.
   */
  async #judgeDisconnection(event: VmmEvent): Promise<void> {
    const { runner, qmpPath } = this.requireAdopted();
    const { ports, publish } = this.#parts;
    try {
      const vmm = await ports.openVmm(qmpPath, () => {});
      vmm.close();
    } catch (thrown) {
      if (SwitchoverError.from(thrown).reason === "QMP_UNREACHABLE") {
        runner.hearVmm(event);
        return;
      }
    }
    const sentence = `The VMM closed its QMP socket ${qmpPath} and still listens there; it is no longer heard.`;
    const alarm = { reason: "VMM_UNHEARD", sentence, metadata: {} };
    publish(runner.guest, { $case: "alarmRaised", value: alarm }, ports.clock.unixUs());
  }

  /** Listens for the source's word until `close` or the next call. */
  awaitHandOff(): void {
    const { runner } = this.requireAdopted();
    this.#endHandOffs();
    this.#endHandOffs = this.#parts.ports.handOffs.subscribe(this.guestId, (handOff) =>
      runner.hearHandOff(handOff, HandOffRoute.NATS),
    );
  }

  /** Lets go of the VMM; devices and guest stay as they are. */
  close(): void {
    this.#endHandOffs();
    this.#adopted?.progress.stop();
    this.#adopted?.runner.close();
  }

  /** Written at once, on disk a moment later: no disk flush belongs between STOP and RESUME. */
  #write(word: JournalWord): void {
    const { journal, ports } = this.#parts;
    journal.write({ atUnixUs: ports.clock.unixUs(), instanceId: this.instanceId, word });
    if (this.#sync === "due") return;
    this.#sync = "due";
    ports.clock.after(SYNC_AFTER_MS, () => {
      this.#sync = "done";
      void this.#syncJournal();
    });
  }

  async #syncJournal(): Promise<void> {
    const { journal, ports } = this.#parts;
    try {
      await journal.sync();
    } catch (thrown) {
      const { reason, message } = SwitchoverError.from(thrown);
      const fields = { guest_id: this.guestId, host_id: ports.hostId, instance_id: this.instanceId, reason };
      ports.log.error(fields, `The journal could not be synced: ${message}`);
    }
  }
}
