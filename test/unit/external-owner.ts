import { setImmediate as nextTurn } from "node:timers/promises";
import { HostAgent } from "../../agent/host-agent.ts";
import type { HostAgentPorts } from "../../agent/host-agent-ports.ts";
import { CpuState, type HandOff, VmmDemand } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  ReportCpuStateRequest,
  ReportCpuStateResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { EntryMobility, MacTableManager, NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { PretendedVmm } from "../kernel/pretended-vmm.ts";
import { VirtualClock } from "./coordinator-world.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";
import { DESTINATION, FENCE, GUEST, MIGRATION, SOURCE } from "./guest-gate.ts";
import { MemoryJournals } from "./memory-journals.ts";
import { pretendedAgentPorts } from "./pretended-agent-ports.ts";
import { PretendedFeedStream } from "./pretended-feed-stream.ts";

export const MAC = "52:54:00:00:00:01";
export const ENTRY = `br0 ${MAC} web0 static sticky`;

/** A host whose guest's VMM its owner drives: an agent that comes and goes, and what the owner tells it. */
export class OwnersHost {
  readonly clock = new VirtualClock();
  readonly kernel = new PretendedKernel();
  readonly journals = new MemoryJournals([]);
  readonly stream = new PretendedFeedStream();
  readonly words: HandOff[] = [];
  readonly name: string;
  agent: HostAgent;

  constructor(name: string) {
    this.name = name;
    this.kernel.addBridge("br0");
    this.agent = this.#startAgent();
  }

  restart(given: Partial<HostAgentPorts> = {}): void {
    this.agent.close();
    this.agent = this.#startAgent(given);
  }

  #startAgent(given: Partial<HostAgentPorts> = {}): HostAgent {
    const { clock, kernel, journals, stream: feed } = this;
    return new HostAgent(
      pretendedAgentPorts(this.name, journals, new PretendedVmm("running"), {
        clock,
        feed,
        devices: { route: kernel, factory: kernel },
        handOffs: { publish: (word) => void this.words.push(word), subscribe: () => () => {} },
        ...given,
      }),
    );
  }

  async prepareNics(): Promise<void> {
    await this.agent.prepareNics({
      guestId: GUEST,
      instanceId: this.instanceId,
      validateOnly: false,
      nics: [
        NicDefinition.fromPartial({
          nicId: "net0",
          macAddress: MAC,
          device: {
            $case: "tapOnBridge",
            value: {
              deviceName: "web0",
              bridge: "br0",
              macTableManager: MacTableManager.SWITCHOVER,
              entryMobility: EntryMobility.STICKY,
            },
          },
        }),
      ],
    });
  }

  async adopt(cpuState: CpuState, runState = "", incomingUri = "", transferStatus = ""): Promise<void> {
    await this.prepareNics();
    await this.agent.adoptGuest({
      guestId: GUEST,
      instanceId: this.instanceId,
      qmpPath: "",
      externalCpuSource: { cpuState, runState, incomingUri, transferStatus },
    });
  }

  get instanceId(): string {
    return `${this.name}-1`;
  }

  get target() {
    return { guestId: GUEST, instanceId: this.instanceId };
  }

  report(cpuState: CpuState, told: Partial<ReportCpuStateRequest> = {}): Promise<ReportCpuStateResponse> {
    return this.agent.reportCpuState({
      ...this.target,
      cpuState,
      runState: "",
      transferStatus: "",
      observedAtUnixUs: 0n,
      startRefusal: "",
      ...told,
    });
  }

  running(told: Partial<ReportCpuStateRequest> = {}): Promise<ReportCpuStateResponse> {
    return this.report(CpuState.RUNNING, told);
  }

  stopped(told: Partial<ReportCpuStateRequest> = {}): Promise<ReportCpuStateResponse> {
    return this.report(CpuState.STOPPED, told);
  }

  /** Names of what is demanded of the VMM, and the guest's entries in the kernel. */
  async state(): Promise<{ readonly demands: readonly string[]; readonly entries: string }> {
    const { instances } = await this.agent.getGuest({ guestId: GUEST });
    return {
      demands: instances.flatMap(({ demands }) => demands.map(demandName)),
      entries: this.kernel.renderEntries(),
    };
  }

  async armed(mode: MigrationMode = MigrationMode.LIVE, incomingUri = ""): Promise<void> {
    await this.agent.armSource({
      ...this.command(),
      mode,
      destinationHostId: DESTINATION,
      transfer: undefined,
    });
    await this.agent.beginTransfer({ ...this.command(), incomingUri });
  }

  async prepared(mode: MigrationMode = MigrationMode.LIVE): Promise<string> {
    const { incomingUri } = await this.agent.prepareDestination({
      ...this.command(),
      mode,
      sourceHostId: SOURCE,
      transfer: undefined,
    });
    return incomingUri;
  }

  command(fence = FENCE) {
    return { ...this.target, migrationId: MIGRATION, fence };
  }

  /** Lets everything that can happen happen, then time pass. */
  async pass(ms: number): Promise<void> {
    await nextTurns();
    for (let passed = 0; passed < ms; passed += 50) {
      this.clock.advance(50);
      await nextTurns();
    }
  }

  async alarms(): Promise<readonly string[]> {
    await this.pass(50);
    return this.stream.messages.flatMap(({ event: { event } }) =>
      event?.$case === "alarmRaised" ? [event.value.reason] : [],
    );
  }

  said(): readonly string[] {
    return this.journals.said().map((word) => word.slice(this.instanceId.length + 1));
  }
}

async function nextTurns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await nextTurn();
}

function demandName(demand: VmmDemand): string {
  return Object.entries(VmmDemand).find(([, value]) => value === demand)?.[0] ?? "?";
}
