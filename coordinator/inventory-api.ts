import type {
  ListMigrationsRequest,
  ListMigrationsResponse,
} from "../proto/gen/switchover/v1/migration_service.ts";
import { answerWithin } from "./answer-within.ts";
import type { Clock } from "./clock.ts";
import { listMigrations } from "./inventory/list-migrations.ts";
import type { RecordCatalogue } from "./record/record-catalogue.ts";

/** All that the inventory needs from outside. */
export interface InventoryPorts {
  readonly catalogue: RecordCatalogue;
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

  #inTime<T>(work: Promise<T>): Promise<T> {
    return answerWithin(this.#ports.clock, LIST_WITHIN_MS, work);
  }
}
