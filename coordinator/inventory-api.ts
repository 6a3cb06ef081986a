import type {
  GetHostRequest,
  GetHostResponse,
  GetReceiptRequest,
  GetReceiptResponse,
  ListHostsRequest,
  ListHostsResponse,
  ListMigrationsRequest,
  ListMigrationsResponse,
} from "../proto/gen/switchover/v1/migration_service.ts";
import { type GuestId, type MigrationId, parseMigrationId } from "../proto/ids.ts";
import type { AdmissionPort } from "./admission/admission-port.ts";
import { withQueuePlace } from "./admission/queue-place.ts";
import { answerWithin } from "./answer-within.ts";
import type { Clock } from "./clock.ts";
import { migrationUnknown } from "./interventions.ts";
import type { HostCatalogue } from "./inventory/host-catalogue.ts";
import { getHost, listHosts } from "./inventory/list-hosts.ts";
import { listMigrations } from "./inventory/list-migrations.ts";
import { receiptOf } from "./inventory/receipt.ts";
import { completeState } from "./migration/complete-state.ts";
import type { RecordCatalogue } from "./record/record-catalogue.ts";
import type { RecordStore } from "./record/record-store.ts";

/** All that the inventory needs from outside. */
export interface InventoryPorts {
  readonly catalogue: RecordCatalogue;
  readonly hosts: HostCatalogue;
  readonly store: Pick<RecordStore, "get" | "readArchived">;
  /** Knows the places of those that wait. */
  readonly admission: Pick<AdmissionPort, "placeOf">;
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
  async listMigrations(asked: ListMigrationsRequest): Promise<ListMigrationsResponse> {
    const { admission, catalogue } = this.#ports;
    const page = await this.#inTime(listMigrations(catalogue, asked));
    return { ...page, migrations: page.migrations.map((each) => withQueuePlace(each, admission)) };
  }

  /** One page of the hosts that live, by id. */
  listHosts(asked: ListHostsRequest): Promise<ListHostsResponse> {
    return this.#inTime(listHosts(this.#ports.hosts, asked, this.#nowUnixMs));
  }

  /** NOT_FOUND / HOST_UNKNOWN for a host that does not live. */
  getHost(asked: GetHostRequest): Promise<GetHostResponse> {
    return this.#inTime(getHost(this.#ports.hosts, asked, this.#nowUnixMs));
  }

  /** FAILED_PRECONDITION / NOT_ENDED for a migration that goes on, NOT_FOUND / MIGRATION_UNKNOWN where there is none. */
  async getReceipt(asked: GetReceiptRequest): Promise<GetReceiptResponse> {
    const { migrationId, guestId } = parseMigrationId(asked.migrationId, "migration_id");
    return this.#inTime(this.#findReceipt(guestId, migrationId));
  }

  async #findReceipt(guestId: GuestId, migrationId: MigrationId): Promise<GetReceiptResponse> {
    const { store } = this.#ports;
    const held = (await store.get(guestId))?.record.migration;
    const isHeld = held?.migration?.migrationId === migrationId;
    const state = isHeld ? held : await store.readArchived(migrationId);
    if (state === undefined || state === null) throw migrationUnknown(migrationId);
    return { receipt: receiptOf(completeState(state)) };
  }

  readonly #nowUnixMs = (): number => this.#ports.clock.unixUs() / 1_000;

  #inTime<T>(work: Promise<T>): Promise<T> {
    return answerWithin(this.#ports.clock, LIST_WITHIN_MS, work);
  }
}
