import type { MigrationApi } from "../../coordinator/migration-api.ts";
import {
  type MigrationServiceServer,
  MigrationServiceService,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import type { ServiceBinding } from "../grpc/server.ts";
import { serveServerStream } from "../grpc/server-stream.ts";
import { serveUnary } from "../grpc/unary.ts";
import type { Log } from "../log/log.ts";

const notYet = (): Promise<never> => Promise.reject(new Error("not yet"));

/** MigrationService on the wire. Open WatchMigration streams end when `ending` aborts. */
export function bindMigrationApi(api: MigrationApi, log: Log, ending: AbortSignal): ServiceBinding {
  const implementation: MigrationServiceServer = {
    startMigration: serveUnary("StartMigration", log, (request) => api.startMigration(request)),
    getMigration: serveUnary("GetMigration", log, (request) => api.getMigration(request)),
    cancelMigration: serveUnary("CancelMigration", log, notYet),
    switchToPostCopy: serveUnary("SwitchToPostCopy", log, notYet),
    pauseMigration: serveUnary("PauseMigration", log, notYet),
    recoverMigration: serveUnary("RecoverMigration", log, notYet),
    resolveMigration: serveUnary("ResolveMigration", log, notYet),
    watchMigration: serveServerStream("WatchMigration", log, ending, (request, context) =>
      api.watchMigration(request, context.signal),
    ),
  };
  return { name: "switchover.v1.MigrationService", definition: MigrationServiceService, implementation };
}
