import type { Fence } from "../../proto/epoch.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestInstance } from "../../proto/gen/switchover/v1/guest.ts";
import type { GuestId, InstanceId } from "../../proto/ids.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import type { PreparedNic } from "../device/nic-preparation.ts";
import { adopt } from "../guest/adopt.ts";
import type { Guest } from "../guest/guest.ts";
import { GuestRunner } from "../guest/guest-runner.ts";
import { nicsOf } from "../guest/nic-changes.ts";
import type { FoundVmm } from "../guest/recall.ts";
import { type Memory, memoryOf } from "../guest/remember.ts";
import type { Step } from "../guest/step.ts";
import { TransferProgressReader } from "../guest/transfer-progress-reader.ts";
import type { Journal } from "../journal/journal.ts";
import type { JournalWord } from "../journal/journal-entry.ts";
import type { WordOf } from "../journal/said-under.ts";
import { EXTERNAL_VMM_FEATURES, ExternalVmm } from "../vmm/external-vmm.ts";
import { lostVmm } from "../vmm/lost-vmm.ts";
import { transferredBy } from "../vmm/migration-progress.ts";
import { isUnderWay } from "../vmm/migration-status.ts";
import type { Vmm, VmmEvent } from "../vmm/vmm.ts";
import type { VmmFeatures } from "../vmm/vmm-features.ts";
import type { VmmReport } from "../vmm/vmm-report.ts";
import type { CpuSource, OwnersVmm } from "./cpu-source.ts";
import { toInstanceMessage } from "./instance-message.ts";
import { InstanceNotes } from "./instance-notes.ts";
import type { InstanceParts } from "./instance-parts.ts";
import type { PreparedDevices } from "./prepared-devices.ts";
import { lifeOf, type Reached, reachVmm } from "./reach-vmm.ts";
import { nicsInKernel, recalledGuest } from "./recalled-guest.ts";
import { rememberedReport } from "./remembered-report.ts";
import { openVmmLine, type VmmLine } from "./vmm-line.ts";

/** As long as a destination has to get ready once it has the word. */
const HAND_BACK_AFTER_MS = 10_000;

/** What an instance is once its VMM is under the gate. */
export interface Adopted {
  readonly runner: GuestRunner;
  readonly vmm: Vmm;
  readonly features: VmmFeatures | null;
  readonly source: CpuSource;
  readonly progress: TransferProgressReader;
}

/** One VMM of a guest on this host, from the preparation of its devices to their release. */
export class Instance {
  readonly #parts: InstanceParts;
  readonly #notes: InstanceNotes;
  readonly #closed = new AbortController();
  #adopted: Adopted | null = null;
  #state: "prepared" | "restoring" | "adopted" = "prepared";
  #endHandOffs: () => void = () => {};
  /** Where the source's VMM connects to; null before the incoming side was opened. */
  incomingUri: string | null = null;
  /** Where it connects to for the rest of a paused transfer; null while that is not open. */
  recoveryUri: string | null = null;
  /** Whether the VMM took `migrate` under the present epoch. */
  transfer: "notBegun" | "begun" = "notBegun";

  constructor(parts: InstanceParts) {
    this.#parts = parts;
    this.#notes = new InstanceNotes(parts.journal, parts.instanceId, parts.ports, this.#logFields());
  }

  get guestId(): GuestId {
    return this.#parts.guestId;
  }

  get instanceId(): InstanceId {
    return this.#parts.instanceId;
  }

  get nics(): readonly NicDefinition[] {
    return this.#parts.devices.nics;
  }

  get prepared(): readonly PreparedNic[] {
    return this.#parts.devices.prepared;
  }

  get devices(): PreparedDevices {
    return this.#parts.devices;
  }

  get journal(): Journal {
    return this.#parts.journal;
  }

  /** `restoring`: this agent came back and has not reached the VMM yet. */
  get state(): "prepared" | "restoring" | "adopted" {
    return this.#state;
  }

  /** Null until AdoptGuest, and while it is being restored. */
  get adopted(): Adopted | null {
    return this.#adopted;
  }

  /** Throws FAILED_PRECONDITION / NOT_ADOPTED before AdoptGuest, UNAVAILABLE / RESTORING while it is being restored. */
  requireAdopted(): Adopted {
    if (this.#adopted !== null) return this.#adopted;
    const name = `Instance ${this.instanceId} of guest ${this.guestId}`;
    if (this.#state === "restoring") {
      throw new SwitchoverError("UNAVAILABLE", `${name} is being restored: its VMM has not answered yet.`, {
        reason: "RESTORING",
        field: "instance_id",
      });
    }
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `${name} has devices here but no VMM yet: call AdoptGuest.`,
      { reason: "NOT_ADOPTED", field: "instance_id" },
    );
  }

  message(): GuestInstance {
    const { runner, source } = this.requireAdopted();
    return toInstanceMessage(runner.guest, this.nics, source);
  }

  /** Journals the NIC, whose device is prepared; its gate knows it from now on. Throws UNAVAILABLE / JOURNAL_UNWRITABLE. */
  attachNic(nic: NicDefinition, prepared: PreparedNic): void {
    this.#takeNicWord({ kind: "nicAttached", nic, prepared });
  }

  /** Journals that the NIC, which is deregistered, is no more; its gate forgets it. Throws as `attachNic` does. */
  detachNic(nicId: string): void {
    this.#takeNicWord({ kind: "nicDetached", nicId });
  }

  #takeNicWord(word: WordOf<"nicAttached"> | WordOf<"nicDetached">): void {
    if (this.#adopted === null) this.note(word);
    else this.#adopted.runner.order({ ...word, atUnixUs: this.#parts.ports.clock.unixUs() });
  }

  /** Whether its VMM is known to be gone, so that others may have its devices. */
  isAbandoned(): boolean {
    return this.#adopted?.runner.guest.vmm === "lost";
  }

  /** Connects to the VMM and takes its CPUs under the gate. What the VMM says meanwhile is heard in order after. */
  async adopt(qmpPath: string, fence: Fence): Promise<void> {
    const { ports } = this.#parts;
    const line = await openVmmLine(ports.openVmm, qmpPath);
    try {
      const features = await line.vmm.describeFeatures();
      const transferred = transferredBy(await line.vmm.queryMigrate());
      const { running, runStateText: runState } = await line.vmm.queryStatus();
      const { process } = line.vmm;
      const adopted = this.#adoptAsFound({ fence, runState, running, transferred });
      this.note({
        kind: "adopted",
        qmpPath,
        ...marksOf(adopted.guest),
        bootId: ports.bootId,
        ...(process === undefined ? {} : { process }),
      });
      this.#bind(line.vmm, features, { kind: "qmp", qmpPath }, adopted);
      this.#listen(line, qmpPath);
    } catch (thrown) {
      line.vmm.close();
      throw thrown;
    }
  }

  #adoptAsFound(
    found: Pick<Parameters<typeof adopt>[0], "fence" | "runState" | "running" | "transferred">,
  ): Step {
    const { guestId, instanceId, ports } = this.#parts;
    return adopt({
      guestId,
      instanceId,
      hostId: ports.hostId,
      nics: nicsOf(this.nics),
      staysRegisteredFor: ports.staysRegisteredFor ?? [],
      ...found,
    });
  }

  /** Takes the CPUs of a VMM under the gate that its owner drives. */
  adoptExternal({ incomingUri, lastTransferStatus, report }: OwnersVmm, fence: Fence): void {
    const { ports } = this.#parts;
    const running = report.cpus === "running";
    const transferred = transferredBy({ statusText: lastTransferStatus });
    const adopted = this.#adoptAsFound({ fence, runState: report.runState, running, transferred });
    this.note({
      kind: "adopted",
      qmpPath: "",
      ...marksOf(adopted.guest),
      bootId: ports.bootId,
      external: { ...report, incomingUri },
    });
    const vmm = this.#externalVmm(report, "none");
    this.#bind(vmm, EXTERNAL_VMM_FEATURES, { kind: "external", vmm, incomingUri }, adopted);
    this.#listenToOwner(vmm);
  }

  /**
   * Takes such CPUs under the gate again after this agent was away, as their owner told last: what they did since is told
   * by its next report.
   */
  restoreExternal(memory: Memory, reported: VmmReport): void {
    const remembered = rememberedReport(memory, reported, this.#parts.ports.bootId);
    const { incomingUri, known, transfer } = remembered;
    const found: FoundVmm =
      remembered.found.vmm === "lost"
        ? remembered.found
        : { ...remembered.found, nics: remembered.found.running ? "unread" : nicsInKernel(this.#parts) };
    const vmm = this.#externalVmm(known, transfer);
    this.incomingUri = memory.incomingUri;
    this.#recall(memory, { kind: "external", vmm, incomingUri }, vmm, EXTERNAL_VMM_FEATURES, found);
    this.#listenToOwner(vmm);
  }

  #externalVmm(known: VmmReport, transfer: "none" | "begun"): ExternalVmm {
    const { clock } = this.#parts.ports;
    const remember = (report: VmmReport) => this.note({ kind: "vmmReported", ...report });
    return new ExternalVmm({ clock, remember }, known, transfer);
  }

  #listenToOwner(vmm: ExternalVmm): void {
    const { runner } = this.requireAdopted();
    vmm.hear((event) => runner.hearVmm(event));
  }

  /**
   * Takes the VMM under the gate again after this agent was away, and has the gate finish, or roll back, what was under
   * way. Tries until the VMM answers or is seen gone; devices and guest stay as they are meanwhile. A destination whose
   * VMM answers nothing for 10 s is handed back by its journal alone: nobody has told it to start its guest. Not after
   * another boot of the host, with which the line that says otherwise may be lost.
   */
  async restore(begun: Memory, qmpPath: string): Promise<void> {
    this.#state = "restoring";
    this.incomingUri = begun.incomingUri;
    const remembered = (): Memory => this.#remembered() ?? begun;
    const found = await this.#reach(begun, qmpPath, remembered, (waitedMs) => {
      if (waitedMs >= HAND_BACK_AFTER_MS) this.#handBackUnseen(remembered());
    });
    if (found === "closed" || found === "taken up") return;
    const { sentence } = found;
    const source = { kind: "qmp", qmpPath } as const;
    this.#recall(remembered(), source, lostVmm(sentence), null, { vmm: "lost", sentence });
  }

  #handBackUnseen(memory: Memory): void {
    const { ports, publish } = this.#parts;
    if (memory.standing.kind !== "incoming" || memory.standing.wayBack === "none") return;
    if (memory.claim?.kind !== "prepared" || memory.claim.bootId !== ports.bootId) return;
    const { fence } = memory;
    const sentence = "Its VMM does not answer since this host's agent came back.";
    this.note({ kind: "handedBack", fence, sentence });
    const atUnixUs = ports.clock.unixUs();
    const { adopted } = recalledGuest(this.#parts, memory, { vmm: "lost", sentence }, atUnixUs);
    publish(adopted.guest, { $case: "handedBack", value: { sentence } }, atUnixUs);
  }

  /**
   * A closed QMP socket is no dead VMM: one that lives keeps its registrations, since cutting a running guest off would
   * be worse than not hearing it. It is taken under the gate anew as soon as it answers, by its journal, as after this
   * agent's restart: what it said meanwhile is read, not guessed.
   */
  async #judgeDisconnection(event: VmmEvent, qmpPath: string): Promise<void> {
    const { runner } = this.requireAdopted();
    const found = await this.#reach(this.#remembered(), qmpPath, () => this.#remembered());
    if (found !== "closed" && found !== "taken up") runner.hearVmm(event);
  }

  /** Undefined once the instance is done with. */
  #remembered(): Memory | undefined {
    return memoryOf(this.journal.entries, this.instanceId);
  }

  #reach(
    known: Memory | undefined,
    qmpPath: string,
    remembered: () => Memory | undefined,
    waited: (waitedMs: number) => void = () => {},
  ): Promise<Reached> {
    const { ports, publish } = this.#parts;
    const adopted = known?.adopted ?? null;
    return reachVmm({
      ports,
      qmpPath,
      process: adopted?.process,
      life: () => lifeOf(adopted, ports),
      signal: this.#closed.signal,
      fields: this.#logFields(),
      waited,
      takeUp: (line) => this.#takeUp(remembered, qmpPath, line),
      unheard: (sentence) => {
        const guest = this.#adopted?.runner.guest;
        const value = { reason: "VMM_UNHEARD", sentence, metadata: {} };
        if (guest !== undefined) publish(guest, { $case: "alarmRaised", value }, ports.clock.unixUs());
      },
    });
  }

  async #takeUp(remembered: () => Memory | undefined, qmpPath: string, line: VmmLine): Promise<void> {
    const features = await line.vmm.describeFeatures();
    const { statusText: transferStatus } = await line.vmm.queryMigrate();
    const { runStateText: runState, running } = await line.vmm.queryStatus();
    // What was journaled while it was asked counts too.
    const memory = remembered();
    if (this.#closed.signal.aborted || memory === undefined) {
      throw new SwitchoverError("CANCELLED", "Closed.", { reason: "CLOSED" });
    }
    this.#letGo();
    const nics = running ? "unread" : nicsInKernel(this.#parts);
    const found = { vmm: "connected", runState, running, transferStatus, nics } as const;
    this.#recall(memory, { kind: "qmp", qmpPath }, line.vmm, features, found);
    this.#listen(line, qmpPath);
  }

  #recall(memory: Memory, source: CpuSource, vmm: Vmm, features: VmmFeatures | null, found: FoundVmm): void {
    const { adopted, missed } = recalledGuest(this.#parts, memory, found, this.#parts.ports.clock.unixUs());
    const { runner, progress } = this.#bind(vmm, features, source, adopted);
    const { role } = adopted.guest;
    if (found.vmm === "connected" && role.kind === "outgoing" && role.transfer === "begun") {
      this.transfer = isUnderWay(found.transferStatus) ? "begun" : "notBegun";
    }
    if (role.kind === "incoming") this.awaitHandOff();
    for (const event of missed) runner.dispatch(event);
    // An owner tells no numbers, of which nobody may make a stall.
    if (source.kind === "qmp") progress.resume();
  }

  #bind(vmm: Vmm, features: VmmFeatures | null, source: CpuSource, adopted: Step): Adopted {
    const { ports, devices, publish, released } = this.#parts;
    const { announcer } = ports;
    const runner = new GuestRunner(
      {
        vmm,
        devices,
        clock: ports.clock,
        log: ports.log,
        handOffs: ports.handOffs,
        journal: (word) => this.note(word),
        publish,
        ...(announcer === undefined
          ? {}
          : { beginAnnouncements: () => announcer.begin(this.devices.delivered, this.#logFields()) }),
        released,
        rule: ports.rule,
        beforeOperation: ports.beforeOperation,
      },
      adopted,
    );
    const progress = new TransferProgressReader(vmm, runner, ports.clock, publish);
    this.#adopted = { runner, vmm, features, source, progress };
    this.#state = "adopted";
    return this.#adopted;
  }

  #listen(line: VmmLine, qmpPath: string): void {
    const { runner, progress } = this.requireAdopted();
    line.hear((event) => {
      progress.hearVmm(event);
      if (event.kind === "migrationStatusChanged") this.#forgetRecovery(event.statusText);
      if (event.kind === "disconnected") void this.#judgeDisconnection(event, qmpPath);
      else runner.hearVmm(event);
    });
  }

  /** A source's connection lasts until the next break; a destination listens, saying `setup`, until it is reached. */
  #forgetRecovery(statusText: string): void {
    const { migration } = this.requireAdopted().runner.guest;
    const lasts = migration?.side === "source" ? statusText !== "postcopy-paused" : statusText === "setup";
    if (!lasts) this.recoveryUri = null;
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
    this.#closed.abort("closed");
    this.#letGo();
  }

  #letGo(): void {
    this.#endHandOffs();
    this.#adopted?.progress.stop();
    this.#adopted?.runner.close();
  }

  /** Journals a word: written at once, on disk a moment later. Throws UNAVAILABLE / JOURNAL_UNWRITABLE. */
  note(word: JournalWord): void {
    this.#notes.write(word);
  }

  #logFields() {
    return { guest_id: this.guestId, host_id: this.#parts.ports.hostId, instance_id: this.instanceId };
  }
}

/** What of the VMM as it was found the journal is to remember. */
function marksOf({ role }: Guest): Pick<WordOf<"adopted">, "waits" | "switched"> {
  if (role.kind === "vacant") return { waits: true, ...(role.load === "begunBefore" && { switched: true }) };
  return role.kind === "forgotten" ? { switched: true } : {};
}
