/** A guest whose VMM its owner drives, by gRPC alone: what any control plane would do, with no QEMU and no device. */
import { setTimeout as delay } from "node:timers/promises";
import type { Client, MethodDefinition } from "@grpc/grpc-js";
import { CpuState, VmmDemand } from "../../proto/gen/switchover/v1/guest.ts";
import { HostAgentServiceService as agentMethods } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { NicDefinition, UnmanagedKind } from "../../proto/gen/switchover/v1/nic.ts";
import { callUnary } from "../../services/grpc/unary.ts";

const CALL = { timeoutMs: 20_000 };
const POLL_MS = 20;

export interface End {
  readonly hostId: string;
  readonly agent: Client;
}

export class GuestOverTheWire {
  readonly guestId: string;
  readonly #source: End;
  readonly #destination: End;
  readonly #mac: string;

  constructor(guestId: string, number: number, source: End, destination: End) {
    this.guestId = guestId;
    this.#source = source;
    this.#destination = destination;
    this.#mac = `52:54:00:00:${number.toString(16).padStart(4, "0").replace(/..$/, ":$&")}`;
  }

  /** It runs at the source, and a VMM waits for it at the destination. */
  async stand(): Promise<void> {
    await this.#adopt(this.#source, CpuState.RUNNING, "running");
    await this.#adopt(this.#destination, CpuState.STOPPED, "inmigrate");
  }

  get startRequest() {
    return {
      requestId: `move-${this.guestId}`,
      validateOnly: false,
      spec: {
        guestId: this.guestId,
        sourceHostId: this.#source.hostId,
        sourceInstanceId: "",
        destinationHostId: this.#destination.hostId,
        destinationInstanceId: "",
        mode: MigrationMode.LIVE,
        transfer: undefined,
        postCopy: undefined,
        priority: 0,
        deadline: undefined,
        labels: {},
      },
    };
  }

  /** Once it is demanded. */
  async beginTransfer(): Promise<void> {
    for (;;) {
      const { instances } = await call(this.#source, agentMethods.getGuest, { guestId: this.guestId });
      if (instances.some(({ demands }) => demands.includes(VmmDemand.BEGIN_TRANSFER))) break;
      await delay(POLL_MS);
    }
    await this.#report(this.#source, CpuState.RUNNING, "", "active");
    await this.#report(this.#destination, CpuState.STOPPED, "", "active");
  }

  /** As a VMM does it; resolves once the guest runs at the destination. */
  async switchOver(): Promise<void> {
    const request = { ...this.#at(this.#destination), runsNowhereElse: undefined };
    const permitted = call(this.#destination, agentMethods.startCpus, request);
    await this.#report(this.#source, CpuState.STOPPED, "finish-migrate", "");
    await this.#report(this.#destination, CpuState.STOPPED, "paused", "completed");
    await this.#report(this.#source, CpuState.STOPPED, "", "completed");
    await permitted;
    await this.#report(this.#destination, CpuState.RUNNING, "running", "");
  }

  #at({ hostId }: End) {
    return { guestId: this.guestId, instanceId: `${this.guestId}-${hostId}` };
  }

  async #adopt(end: End, cpuState: CpuState, runState: string): Promise<void> {
    const nic = NicDefinition.fromPartial({
      nicId: "net0",
      macAddress: this.#mac,
      device: { $case: "unmanaged", value: { kind: UnmanagedKind.USER } },
    });
    await call(end, agentMethods.prepareNics, { ...this.#at(end), nics: [nic], validateOnly: false });
    const externalCpuSource = { cpuState, runState, incomingUri: "", transferStatus: "" };
    await call(end, agentMethods.adoptGuest, { ...this.#at(end), qmpPath: "", externalCpuSource });
  }

  async #report(end: End, cpuState: CpuState, runState: string, transferStatus: string): Promise<void> {
    const told = { cpuState, runState, transferStatus, observedAtUnixUs: 0n, startRefusal: "" };
    await call(end, agentMethods.reportCpuState, { ...this.#at(end), ...told });
  }
}

function call<Request, Response>(end: End, method: MethodDefinition<Request, Response>, request: Request) {
  return callUnary(end.agent, method, request, CALL);
}
