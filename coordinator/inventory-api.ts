import type {
  GetHostRequest,
  GetHostResponse,
  ListHostsRequest,
  ListHostsResponse,
  ListMigrationsRequest,
  ListMigrationsResponse,
} from "../proto/gen/switchover/v1/migration_service.ts";
import { answerWithin } from "./answer-within.ts";
import type { Clock } from "./clock.ts";
import type { HostCatalogue } from "./inventory/host-catalogue.ts";
import { getHost, listHosts } from "./inventory/list-hosts.ts";
import { listMigrations } from "./inventory/list-migrations.ts";
import type { RecordCatalogue } from "./record/record-catalogue.ts";

/** All that the inventory needs from outside. */
export interface InventoryPorts {
  readonly catalogue: RecordCatalogue;
  readonly hosts: HostCatalogue;
  readonly clock: Clock;
}

/** A list takes a pass over all that is kept, which takes longer than one record. */
const LIST_WITHIN_MS = 10_000;

/**
 * What there is, without its transport: the read-only part of MigrationService that is about more than one migration, or
 * about what stays of it. Nothing here changes anything; failures are SwitchoverErrors.
 */
export class InventoryApi {
  readonly #ports: InventoryPorts;

  constructor(ports: InventoryPorts) {
    this.#ports = ports;
  }

  /** One page, newest first. INVALID_ARGUMENT names the field of filter, page_size or page_token that cannot be. */
  listMigrations(asked: ListMigrationsRequest): Promise<ListMigrationsResponse> {
    return this.#inTime(listMigrations(this.#ports.catalogue, asked));
  }

  /** One page of the hosts that live, by id. */
  listHosts(asked: ListHostsRequest): Promise<ListHostsResponse> {
    return this.#inTime(listHosts(this.#ports.hosts, asked, this.#nowUnixMs));
  }

  /** NOT_FOUND / HOST_UNKNOWN for a host that does not live. */
  getHost(asked: GetHostRequest): Promise<GetHostResponse> {
    return this.#inTime(getHost(this.#ports.hosts, asked, this.#nowUnixMs));
  }

  readonly #nowUnixMs = (): number => this.#ports.clock.unixUs() / 1_000;

  #inTime<T>(work: Promise<T>): Promise<T> {
    return answerWithin(this.#ports.clock, LIST_WITHIN_MS, work);
  }
}
