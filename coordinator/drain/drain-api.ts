import { SwitchoverError } from "../../proto/error.ts";
import type {
  CancelDrainRequest,
  CancelDrainResponse,
  Drain,
  DrainHostRequest,
  DrainHostResponse,
  DrainRecord,
  GetDrainRequest,
  GetDrainResponse,
  WatchDrainRequest,
  WatchDrainResponse,
} from "../../proto/gen/switchover/v1/drain.ts";
import { DrainPhase } from "../../proto/gen/switchover/v1/drain.ts";
import { type HostId, parseDrainId } from "../../proto/ids.ts";
import { answerWithin } from "../answer-within.ts";
import type { Clock } from "../clock.ts";
import { hostUnknown } from "../host-unknown.ts";
import { LatestValue } from "../latest-value.ts";
import type { HostPort } from "../runner/host-port.ts";
import { claimDrain, commitDrain, drainUnknown, isDrainOpen } from "./drain-record.ts";
import { type DrainRequest, parseDrainHost } from "./drain-request.ts";
import type { DrainRunner } from "./drain-runner.ts";
import type { DrainStore, StoredDrain } from "./drain-store.ts";
import type { DrainingHosts } from "./draining-hosts.ts";

export interface DrainApiPorts {
  readonly store: DrainStore;
  readonly hosts: HostPort;
  readonly runner: DrainRunner;
  readonly draining: DrainingHosts;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
}

/** No caller waits longer for a store that is away. */
const ANSWER_WITHIN_MS = 1_900;
/** Attempts of one write in a row, against the drain's driver and other callers. */
const WRITE_ATTEMPTS = 8;

/** The part of MigrationService that evacuates hosts, without its transport. Failures are SwitchoverErrors. */
export class DrainApi {
  readonly #ports: DrainApiPorts;

  constructor(ports: DrainApiPorts) {
    this.#ports = ports;
  }

  /**
   * Begins the evacuation; returns once that is stored. Idempotent by request id: ALREADY_EXISTS / REQUEST_REUSED for
   * other content, FAILED_PRECONDITION / HOST_DRAINING while another one of the host has not ended or where a destination
   * is drained itself, NOT_FOUND / HOST_UNKNOWN for a host without an agent.
   */
  async drainHost(asked: DrainHostRequest): Promise<DrainHostResponse> {
    const request = parseDrainHost(asked);
    const drain = await this.#inTime(this.#write(request.hostId, (found) => this.#claim(request, found)));
    this.#ports.runner.take(request.hostId);
    return { drain };
  }

  async #claim(request: DrainRequest, found: StoredDrain | null): Promise<Decision> {
    const { clock, random } = this.#ports;
    const claim = claimDrain(found?.record ?? null, request, BigInt(clock.unixUs()), random());
    if (claim.t === "refused") throw claim.error;
    if (claim.t === "already") return { drain: claim.drain };
    await this.#checkHost(request.hostId, "spec.host_id");
    for (const [index, hostId] of request.spec.destinationHostIds.entries()) {
      const field = `spec.destination_host_ids[${index}]`;
      await this.#checkHost(hostId as HostId, field);
      this.#ports.draining.checkDestination(hostId as HostId, field);
    }
    return { record: claim.record };
  }

  async #checkHost(hostId: HostId, field: string): Promise<void> {
    if ((await this.#ports.hosts.get(hostId)) === null) throw hostUnknown(hostId, field);
  }

  /** NOT_FOUND / DRAIN_UNKNOWN where it is not its host's last. */
  async getDrain(asked: GetDrainRequest): Promise<GetDrainResponse> {
    const { drainId, hostId } = parseDrainId(asked.drainId, "drain_id");
    return { drain: (await this.#inTime(this.#find(drainId, hostId))).drain };
  }

  /** Has no further guest sent away. FAILED_PRECONDITION / DRAIN_ENDED where it has ended in another way. */
  async cancelDrain(asked: CancelDrainRequest): Promise<CancelDrainResponse> {
    const { drainId, hostId } = parseDrainId(asked.drainId, "drain_id");
    const drain = await this.#inTime(
      this.#write(hostId, async (found) => {
        const stands = found?.record.drain;
        if (found === null || stands?.drainId !== drainId) throw drainUnknown(drainId);
        if (stands.phase === DrainPhase.CANCELLED) return { drain: stands };
        if (!isDrainOpen(stands)) throw drainEnded(drainId);
        const cancelMigrations = found.record.cancelMigrations || asked.cancelMigrations;
        const cancelled = { ...stands, phase: DrainPhase.CANCELLING };
        const change = { cancelAsked: true, cancelMigrations, drain: cancelled };
        return { record: commitDrain(found.record, change) };
      }),
    );
    return { drain };
  }

  /** The drain as it stands, then after every change; ends once it has ended, or with the signal. */
  async *watchDrain(
    asked: WatchDrainRequest,
    signal: AbortSignal,
  ): AsyncGenerator<WatchDrainResponse, void, undefined> {
    const { drainId, hostId } = parseDrainId(asked.drainId, "drain_id");
    const states = new LatestValue<Drain>();
    const end = () => states.end();
    signal.addEventListener("abort", end);
    let newest = 0n;
    // Two ways bring them, and what the one brings late must not replace what the other brought, which may be the end.
    const offer = ({ drain, revision }: DrainRecord): void => {
      if (drain === undefined || revision <= newest) return;
      newest = revision;
      states.offer(drain);
    };
    const stopObserving = this.#ports.runner.observe(hostId, offer);
    try {
      offer(await this.#inTime(this.#find(drainId, hostId)));
      let shown = "";
      for await (const drain of states) {
        // A later drain of the host: this one has ended, and its last state is gone.
        if (drain.drainId !== drainId) throw drainUnknown(drainId);
        const text = JSON.stringify(drain, (_key, value) =>
          typeof value === "bigint" ? String(value) : value,
        );
        if (text !== shown) yield { drain };
        shown = text;
        if (!isDrainOpen(drain)) return;
      }
    } finally {
      stopObserving();
      signal.removeEventListener("abort", end);
    }
  }

  async #find(drainId: string, hostId: HostId): Promise<DrainRecord> {
    const record = (await this.#ports.store.get(hostId))?.record;
    if (record?.drain?.drainId !== drainId) throw drainUnknown(drainId);
    return record;
  }

  /** Reads and decides until a decision is written, or needs no write. */
  async #write(hostId: HostId, decide: (found: StoredDrain | null) => Promise<Decision>): Promise<Drain> {
    const { store } = this.#ports;
    for (let attempt = 0; attempt < WRITE_ATTEMPTS; attempt += 1) {
      const found = await store.get(hostId);
      const decision = await decide(found);
      if (decision.drain !== undefined) return decision.drain;
      try {
        const { record } = await store.write(decision.record, found?.revision ?? 0);
        if (record.drain !== undefined) return record.drain;
      } catch (thrown) {
        if (SwitchoverError.from(thrown).code !== "ABORTED") throw thrown;
      }
    }
    throw new SwitchoverError("ABORTED", `Others change the drain of host ${hostId} again and again.`, {
      reason: "REVISION_CONFLICT",
    });
  }

  #inTime<T>(work: Promise<T>): Promise<T> {
    return answerWithin(this.#ports.clock, ANSWER_WITHIN_MS, work);
  }
}

type Decision =
  | { readonly drain: Drain; readonly record?: undefined }
  | { readonly drain?: undefined; readonly record: StoredDrain["record"] };

function drainEnded(drainId: string): SwitchoverError {
  return new SwitchoverError("FAILED_PRECONDITION", `Drain ${drainId} has ended.`, {
    reason: "DRAIN_ENDED",
    field: "drain_id",
  });
}
