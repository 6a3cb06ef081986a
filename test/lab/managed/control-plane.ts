import { setTimeout as delay } from "node:timers/promises";
import type { MethodDefinition } from "@grpc/grpc-js";
import { SwitchoverError } from "../../../proto/error.ts";
import type { GuestInstance } from "../../../proto/gen/switchover/v1/guest.ts";
import { HostAgentServiceService } from "../../../proto/gen/switchover/v1/host_agent_service.ts";
import type { Migration, MigrationSpec } from "../../../proto/gen/switchover/v1/migration.ts";
import { MigrationServiceService, Resolution } from "../../../proto/gen/switchover/v1/migration_service.ts";
import type { NicDefinition, PreparedNic } from "../../../proto/gen/switchover/v1/nic.ts";
import type { Receipt } from "../../../proto/gen/switchover/v1/receipt.ts";
import { callServerStream } from "../../../services/grpc/server-stream.ts";
import { callUnary } from "../../../services/grpc/unary.ts";
import { deadlineExceeded } from "../deadline.ts";
import type { Cluster } from "./cluster.ts";
import { phaseName } from "./feed-observer.ts";

const CALL_TIMEOUT_MS = 15_000;
const POLL_TIMEOUT_MS = 1_000;
const POLL_MS = 50;

/** The lab's cloud control plane: the few gRPC calls that a cloud makes around a migration. */
export class ControlPlane {
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  async prepareNics(
    host: string,
    guestId: string,
    instanceId: string,
    nics: NicDefinition[],
  ): Promise<readonly PreparedNic[]> {
    const request = { guestId, instanceId, nics, validateOnly: false };
    return (await this.#ask(host, HostAgentServiceService.prepareNics, request)).nics;
  }

  async adoptGuest(host: string, guestId: string, instanceId: string, qmpPath: string): Promise<void> {
    await this.#ask(host, HostAgentServiceService.adoptGuest, {
      guestId,
      instanceId,
      qmpPath,
      externalCpuSource: undefined,
    });
  }

  async startCpus(host: string, guestId: string): Promise<void> {
    await this.#ask(host, HostAgentServiceService.startCpus, { guestId, instanceId: "" });
  }

  async stopCpus(host: string, guestId: string): Promise<void> {
    await this.#ask(host, HostAgentServiceService.stopCpus, { guestId, instanceId: "" });
  }

  /** Empty where the host has none. */
  async instances(host: string, guestId: string): Promise<readonly GuestInstance[]> {
    try {
      return (await this.#ask(host, HostAgentServiceService.getGuest, { guestId })).instances;
    } catch (thrown) {
      if (SwitchoverError.from(thrown).reason === "GUEST_UNKNOWN") return [];
      throw thrown;
    }
  }

  async startMigration(requestId: string, spec: MigrationSpec): Promise<Migration> {
    const { migration } = await callUnary(
      this.#cluster.migrations,
      MigrationServiceService.startMigration,
      { requestId, spec, validateOnly: false },
      { timeoutMs: CALL_TIMEOUT_MS },
    );
    return known(migration);
  }

  /**
   * The migration once `holds`, asked for again and again whoever answers meanwhile or does not. Throws
   * DEADLINE_EXCEEDED / LAB_DEADLINE after `timeoutMs`, with the phase that it stands in.
   */
  async reached(
    migrationId: string,
    holds: (migration: Migration) => boolean,
    timeoutMs: number,
  ): Promise<Migration> {
    const deadline = performance.now() + timeoutMs;
    let last = "nobody answered";
    while (performance.now() < deadline) {
      try {
        const { migration } = await callUnary(
          this.#cluster.migrations,
          MigrationServiceService.getMigration,
          { migrationId },
          { timeoutMs: POLL_TIMEOUT_MS },
        );
        const found = known(migration);
        if (holds(found)) return found;
        last = `it is ${phaseName(found.phase)}${found.reason === "" ? "" : `: ${found.reason}`}`;
      } catch (thrown) {
        const { code, message } = SwitchoverError.from(thrown);
        if (code !== "UNAVAILABLE" && code !== "DEADLINE_EXCEEDED") throw thrown;
        last = message;
      }
      await delay(POLL_MS);
    }
    throw deadlineExceeded(`The awaited state of ${migrationId} (${last})`, timeoutMs);
  }

  async receipt(migrationId: string): Promise<Receipt> {
    const { receipt } = await callUnary(
      this.#cluster.migrations,
      MigrationServiceService.getReceipt,
      { migrationId },
      { timeoutMs: CALL_TIMEOUT_MS },
    );
    if (receipt !== undefined) return receipt;
    throw new SwitchoverError("INTERNAL", "The coordinator answered without a receipt.", {
      reason: "LAB_BAD_OUTPUT",
    });
  }

  /** In post-copy mode, at the latest by its policy: the CPUs move now. */
  async switchToPostCopy(migrationId: string): Promise<void> {
    await callUnary(
      this.#cluster.migrations,
      MigrationServiceService.switchToPostCopy,
      { migrationId },
      { timeoutMs: CALL_TIMEOUT_MS },
    );
  }

  /** An operator's statement about hosts that are dead. */
  async declareDead(migrationId: string, hostId: string): Promise<void> {
    await callUnary(
      this.#cluster.operator,
      MigrationServiceService.resolveMigration,
      { migrationId, deadHostIds: [hostId], resolution: Resolution.UNSPECIFIED },
      { timeoutMs: CALL_TIMEOUT_MS },
    );
  }

  /** The migration as it ended. Throws DEADLINE_EXCEEDED / STILL_MIGRATING after `timeoutMs`. */
  async ended(migrationId: string, timeoutMs: number): Promise<Migration> {
    const signal = AbortSignal.timeout(timeoutMs);
    let latest: Migration | undefined;
    try {
      const watch = MigrationServiceService.watchMigration;
      for await (const { migration } of callServerStream(
        this.#cluster.migrations,
        watch,
        { migrationId, afterRevision: 0n },
        { signal },
      )) {
        latest = migration;
      }
    } catch (thrown) {
      if (!signal.aborted) throw thrown;
      const phase = latest?.phases.at(-1)?.phase;
      throw new SwitchoverError("DEADLINE_EXCEEDED", `${migrationId} has not ended in ${timeoutMs} ms.`, {
        reason: "STILL_MIGRATING",
        metadata: { phase: String(phase), why: latest?.reason ?? "" },
      });
    }
    return known(latest);
  }

  #ask<Request, Response>(
    host: string,
    method: MethodDefinition<Request, Response>,
    request: Request,
  ): Promise<Response> {
    return callUnary(this.#cluster.agent(host), method, request, { timeoutMs: CALL_TIMEOUT_MS });
  }
}

function known(migration: Migration | undefined): Migration {
  if (migration !== undefined) return migration;
  throw new SwitchoverError("INTERNAL", "The coordinator told nothing about the migration.", {
    reason: "NO_ANSWER",
  });
}
