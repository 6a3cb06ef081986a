import type { DrainApi } from "../../coordinator/drain/drain-api.ts";
import type { InventoryApi } from "../../coordinator/inventory-api.ts";
import type { MigrationApi } from "../../coordinator/migration-api.ts";
import {
  type MigrationServiceServer,
  MigrationServiceService,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import { requesterOf } from "../grpc/requester.ts";
import type { ServiceBinding } from "../grpc/server.ts";
import { serveServerStream } from "../grpc/server-stream.ts";
import { callerTraceIn } from "../grpc/trace-metadata.ts";
import { serveUnary } from "../grpc/unary.ts";
import type { Log } from "../log/log.ts";

/** MigrationService on the wire. Open streams end when `ending` aborts. */
export function bindMigrationApi(
  api: MigrationApi,
  inventory: InventoryApi,
  drains: DrainApi,
  log: Log,
  ending: AbortSignal,
): ServiceBinding {
  const implementation: MigrationServiceServer = {
    startMigration: serveUnary("StartMigration", log, (request, context) =>
      api.startMigration(request, {
        trace: callerTraceIn(context.metadata),
        requestedBy: requesterOf(context),
      }),
    ),
    getMigration: serveUnary("GetMigration", log, (request) => api.getMigration(request)),
    listMigrations: serveUnary("ListMigrations", log, (request) => inventory.listMigrations(request)),
    getReceipt: serveUnary("GetReceipt", log, (request) => inventory.getReceipt(request)),
    listHosts: serveUnary("ListHosts", log, (request) => inventory.listHosts(request)),
    getHost: serveUnary("GetHost", log, (request) => inventory.getHost(request)),
    cancelMigration: serveUnary("CancelMigration", log, (request) => api.cancelMigration(request)),
    switchToPostCopy: serveUnary("SwitchToPostCopy", log, (request) => api.switchToPostCopy(request)),
    pauseMigration: serveUnary("PauseMigration", log, (request) => api.pauseMigration(request)),
    recoverMigration: serveUnary("RecoverMigration", log, (request) => api.recoverMigration(request)),
    resolveMigration: serveUnary("ResolveMigration", log, (request) => api.resolveMigration(request)),
    watchMigration: serveServerStream("WatchMigration", log, ending, (request, context) =>
      api.watchMigration(request, context.signal),
    ),
    drainHost: serveUnary("DrainHost", log, (request) => drains.drainHost(request)),
    getDrain: serveUnary("GetDrain", log, (request) => drains.getDrain(request)),
    cancelDrain: serveUnary("CancelDrain", log, (request) => drains.cancelDrain(request)),
    watchDrain: serveServerStream("WatchDrain", log, ending, (request, context) =>
      drains.watchDrain(request, context.signal),
    ),
  };
  return { name: "switchover.v1.MigrationService", definition: MigrationServiceService, implementation };
}
