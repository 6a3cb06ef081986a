/**
 * Who may call what: the one table of roles, least privilege. A role's name is a part of its certificates' URI
 * (identity.ts). Health (grpc.health.v1) and server reflection are for every role: they say what the published contract
 * says, and whether a program serves. An agent calls nobody.
 */
import type { HostAgentServiceService } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { MigrationServiceService } from "../../proto/gen/switchover/v1/migration_service.ts";

export const ROLES = ["control-plane", "coordinator", "agent", "observer", "operator"] as const;
export type Role = (typeof ROLES)[number];

type AgentMethod = keyof typeof HostAgentServiceService;
type MigrationMethod = keyof typeof MigrationServiceService;

interface Permissions {
  /** Of a coordinator. */
  readonly migrations: readonly MigrationMethod[];
  /** Of an agent. */
  readonly host: readonly AgentMethod[];
}

const READ_MIGRATIONS = [
  "getMigration",
  "listMigrations",
  "getReceipt",
  "listHosts",
  "getHost",
  "watchMigration",
  "getDrain",
  "watchDrain",
] as const satisfies readonly MigrationMethod[];

const MOVE_GUESTS = [
  "startMigration",
  "cancelMigration",
  "switchToPostCopy",
  "pauseMigration",
  "recoverMigration",
  "drainHost",
  "cancelDrain",
] as const satisfies readonly MigrationMethod[];

const READ_HOST = ["describe", "getGuest", "listOrphans"] as const satisfies readonly AgentMethod[];

export const PERMISSIONS: Readonly<Record<Role, Permissions>> = {
  /** The cloud's own programs: they prepare guests, own VMMs and ask for migrations. */
  "control-plane": {
    migrations: [...READ_MIGRATIONS, ...MOVE_GUESTS],
    host: [
      ...READ_HOST,
      ...["prepareNics", "attachNic", "detachNic", "adoptGuest"],
      ...["startCpus", "stopCpus", "reportCpuState"],
    ] as readonly AgentMethod[],
  },
  /** Alone arms, hands off and follows; what makes and drives guests on a host is not its to ask. */
  coordinator: {
    migrations: [],
    host: [
      ...["describe", "getGuest", "readClock", "preflight", "prepareDestination", "armSource"],
      ...[
        "beginTransfer",
        "switchToPostCopy",
        "followGuest",
        "getHandOff",
        "deliverHandOff",
        "releaseSource",
        "cancelTransfer",
      ],
      ...["abortDestination", "handBack", "resumeSource", "pauseMigration", "recoverMigration"],
    ] as readonly AgentMethod[],
  },
  agent: { migrations: [], host: [] },
  observer: { migrations: READ_MIGRATIONS, host: READ_HOST },
  /** People with switchoverctl, who alone state that a host is dead and, where no coordinator is left, take its place. */
  operator: {
    migrations: [...READ_MIGRATIONS, ...MOVE_GUESTS, "resolveMigration"],
    host: [
      ...READ_HOST,
      ...["removeOrphans", "attachNic", "detachNic", "startCpus", "reportCpuState"],
      ...["cancelTransfer", "abortDestination", "handBack"],
    ] as readonly AgentMethod[],
  },
};

const OF_SERVICE: Readonly<Record<string, keyof Permissions>> = {
  "switchover.v1.MigrationService": "migrations",
  "switchover.v1.HostAgentService": "host",
};

/** Whether the role may call that method of the service; nobody may call what the table does not name. */
export function mayCall(role: Role, service: string, method: string): boolean {
  const permissions = OF_SERVICE[service];
  if (permissions === undefined) return false;
  return (PERMISSIONS[role][permissions] as readonly string[]).includes(method);
}
