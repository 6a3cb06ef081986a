import type { Client, MethodDefinition } from "@grpc/grpc-js";
import { SwitchoverError } from "../../proto/error.ts";
import type { CancelDrainRequest, Drain, DrainHostRequest } from "../../proto/gen/switchover/v1/drain.ts";
import type { Host } from "../../proto/gen/switchover/v1/host.ts";
import type { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import {
  type ListHostsRequest,
  type ListHostsResponse,
  type ListMigrationsRequest,
  type ListMigrationsResponse,
  MigrationServiceService as methods,
  type ResolveMigrationRequest,
  type StartMigrationRequest,
  type StartMigrationResponse,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import type { Receipt } from "../../proto/gen/switchover/v1/receipt.ts";
import type { GivenTrace } from "../../proto/trace-context.ts";
import { openChannel } from "../grpc/channel.ts";
import { callServerStream } from "../grpc/server-stream.ts";
import { callUnary } from "../grpc/unary.ts";
import type { Security } from "../tls/security.ts";

export const MIGRATION_SERVICE = "switchover.v1.MigrationService";

const CALL_TIMEOUT_MS = 10_000;
/** A coordinator goes through all that is kept for a list. */
const LIST_TIMEOUT_MS = 15_000;
const WATCH_RETRY_MS = 500;
/** How long a broken watch is opened again before the coordinator counts as unreachable. */
export const WATCH_UNREACHABLE_S = 30;

/** Hears that a watch broke and is opened again: once, until the coordinator has said something. */
export type OnSilence = (error: SwitchoverError) => void;

/** MigrationService as a client sees it; throws SwitchoverError. */
export class CoordinatorClient {
  readonly #client: Client;
  readonly #onSilence: OnSilence;

  constructor(target: string, security: Security, onSilence: OnSilence) {
    this.#onSilence = onSilence;
    const peer = { roles: ["coordinator"] } as const;
    this.#client = openChannel(target, { retriedServices: [MIGRATION_SERVICE], security, peer });
  }

  async start(request: StartMigrationRequest, trace?: GivenTrace): Promise<Migration> {
    return present((await this.#startMigration(request, trace)).migration);
  }

  /** All that would refuse it; nothing is stored or changed. */
  validate(request: StartMigrationRequest): Promise<StartMigrationResponse> {
    return this.#startMigration({ ...request, validateOnly: true });
  }

  #startMigration(request: StartMigrationRequest, trace?: GivenTrace): Promise<StartMigrationResponse> {
    return callUnary(this.#client, methods.startMigration, request, { timeoutMs: CALL_TIMEOUT_MS, trace });
  }

  get(migrationId: string): Promise<Migration> {
    return this.#call(methods.getMigration, { migrationId });
  }

  /** One page. */
  list(request: ListMigrationsRequest): Promise<ListMigrationsResponse> {
    return callUnary(this.#client, methods.listMigrations, request, { timeoutMs: LIST_TIMEOUT_MS });
  }

  /** One page. */
  listHosts(request: ListHostsRequest): Promise<ListHostsResponse> {
    return callUnary(this.#client, methods.listHosts, request, { timeoutMs: LIST_TIMEOUT_MS });
  }

  async getHost(hostId: string): Promise<Host> {
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    const { host } = await callUnary(this.#client, methods.getHost, { hostId }, options);
    return present(host);
  }

  async getReceipt(migrationId: string): Promise<Receipt> {
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    const { receipt } = await callUnary(this.#client, methods.getReceipt, { migrationId }, options);
    return present(receipt);
  }

  cancel(migrationId: string): Promise<Migration> {
    return this.#call(methods.cancelMigration, { migrationId });
  }

  switchToPostCopy(migrationId: string): Promise<Migration> {
    return this.#call(methods.switchToPostCopy, { migrationId });
  }

  pause(migrationId: string): Promise<Migration> {
    return this.#call(methods.pauseMigration, { migrationId });
  }

  recover(migrationId: string): Promise<Migration> {
    return this.#call(methods.recoverMigration, { migrationId });
  }

  resolve(request: ResolveMigrationRequest): Promise<Migration> {
    return this.#call(methods.resolveMigration, request);
  }

  /**
   * The migration as it stands and after every change, until it has ended; only what is newer where the caller has a
   * state already, by its revision. A broken stream is opened again for up to
   * 30 s, at any coordinator behind the target, which `onSilence` hears; then UNAVAILABLE.
   */
  async *watch(
    migrationId: string,
    signal: AbortSignal,
    has: Migration | null = null,
  ): AsyncGenerator<Migration, void, undefined> {
    let afterRevision = revisionOf(has);
    const request = () => ({ migrationId, afterRevision });
    for await (const { migration } of this.#follow(methods.watchMigration, request, signal)) {
      yield present(migration);
      afterRevision = revisionOf(present(migration));
    }
  }

  async drain(request: DrainHostRequest): Promise<Drain> {
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    return present((await callUnary(this.#client, methods.drainHost, request, options)).drain);
  }

  async getDrain(drainId: string): Promise<Drain> {
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    return present((await callUnary(this.#client, methods.getDrain, { drainId }, options)).drain);
  }

  async cancelDrain(request: CancelDrainRequest): Promise<Drain> {
    const options = { timeoutMs: CALL_TIMEOUT_MS };
    return present((await callUnary(this.#client, methods.cancelDrain, request, options)).drain);
  }

  /** As `watch`, of a drain. */
  async *watchDrain(drainId: string, signal: AbortSignal): AsyncGenerator<Drain, void, undefined> {
    const request = () => ({ drainId });
    for await (const { drain } of this.#follow(methods.watchDrain, request, signal)) yield present(drain);
  }

  async *#follow<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: () => Request,
    signal: AbortSignal,
  ): AsyncGenerator<Response, void, undefined> {
    let coordinator: "heard" | "silent" = "heard";
    for (let heardAtMs = performance.now(); ; ) {
      try {
        for await (const response of callServerStream(this.#client, method, request(), { signal })) {
          heardAtMs = performance.now();
          coordinator = "heard";
          yield response;
        }
        return;
      } catch (thrown) {
        const silentMs = performance.now() - heardAtMs;
        const error = SwitchoverError.from(thrown);
        const isGivenUp = silentMs > WATCH_UNREACHABLE_S * 1_000;
        if (signal.aborted || error.code !== "UNAVAILABLE" || isGivenUp) throw thrown;
        if (coordinator === "heard") this.#onSilence(error);
        coordinator = "silent";
      }
      await new Promise((resolve) => setTimeout(resolve, WATCH_RETRY_MS));
    }
  }

  close(): void {
    this.#client.close();
  }

  async #call<Request>(
    method: MethodDefinition<Request, { migration: Migration | undefined }>,
    request: Request,
  ): Promise<Migration> {
    const { migration } = await callUnary(this.#client, method, request, { timeoutMs: CALL_TIMEOUT_MS });
    return present(migration);
  }
}

function revisionOf(migration: Migration | null): bigint {
  return migration?.fence?.revision ?? 0n;
}

function present<T>(answer: T | undefined): T {
  if (answer !== undefined) return answer;
  throw new SwitchoverError("INTERNAL", "The coordinator answered with nothing.", {
    reason: "EMPTY_ANSWER",
  });
}
