import { SwitchoverError } from "../proto/error.ts";
import { MigrationRole } from "../proto/gen/switchover/v1/guest.ts";
import type { PreflightResponse } from "../proto/gen/switchover/v1/host_agent_service.ts";
import type { Migration } from "../proto/gen/switchover/v1/migration.ts";
import type { StartMigrationResponse, StartRefusal } from "../proto/gen/switchover/v1/migration_service.ts";
import type { HostId } from "../proto/ids.ts";
import type { AdmissionPort } from "./admission/admission-port.ts";
import type { Clock } from "./clock.ts";
import type { DrainingHosts } from "./drain/draining-hosts.ts";
import { hostUnknown } from "./host-unknown.ts";
import type { Side } from "./migration/complete-state.ts";
import { nicDifferenceOf } from "./migration/prepare.ts";
import { earlierMigration } from "./record/earlier-migration.ts";
import { claimGuest, type MigrationRequest } from "./record/guest-record.ts";
import { checkMoveBudget, type MoveBudget } from "./record/move-budget.ts";
import type { RecordStore } from "./record/record-store.ts";
import { checkCapabilities } from "./required-capabilities.ts";
import type { AgentPort } from "./runner/agent-port.ts";
import type { HostPort } from "./runner/host-port.ts";

export interface ValidationPorts {
  readonly store: Pick<RecordStore, "get" | "readArchived">;
  readonly hosts: HostPort;
  readonly agents: Pick<AgentPort, "preflight">;
  readonly draining: Pick<DrainingHosts, "checkDestination">;
  readonly moveBudget: MoveBudget | null;
  readonly admission: Pick<AdmissionPort, "foretell">;
  readonly clock: Clock;
}

/** Longer than an agent waits for its VMM, shorter than a caller waits for the answer. */
const PREFLIGHT_WITHIN_MS = 1_500;

/**
 * Everything that would refuse the migration now: the guest's claim, the hosts, and all that both agents' preflight
 * says. Stores nothing and changes nothing anywhere. A request that has made its migration before is answered with that,
 * as it would be. UNAVAILABLE where the store does not answer.
 */
export async function validateStart(
  ports: ValidationPorts,
  request: MigrationRequest,
): Promise<StartMigrationResponse> {
  const claim = await tryClaim(ports, request);
  if (claim.migration !== undefined) return { migration: claim.migration, refusals: [] };
  const [source, destination] = await Promise.all([
    preflight(ports, request, "source"),
    preflight(ports, request, "destination"),
  ]);
  const difference = nicDifferenceOf(source.nics ?? [], destination.nics ?? []);
  const compared =
    source.nics === null || destination.nics === null || difference.found === "none"
      ? []
      : [refusalOf("NIC_SETS_DIFFER", difference.sentence)];
  return {
    migration: undefined,
    refusals: [...claim.refusals, ...source.refusals, ...destination.refusals, ...compared],
  };
}

async function tryClaim(
  { store, admission, moveBudget, clock }: ValidationPorts,
  request: MigrationRequest,
): Promise<{ readonly migration?: Migration; readonly refusals: readonly StartRefusal[] }> {
  const found = await store.get(request.guestId);
  const claim = claimGuest(found?.record ?? null, request, BigInt(clock.unixUs()), 0);
  switch (claim.t) {
    case "claimed":
      return {
        refusals: [
          ...refusalsOf(() => checkMoveBudget(found?.record ?? null, moveBudget, BigInt(clock.unixUs()))),
          ...refusalsOf(() => admission.foretell(request)),
        ],
      };
    case "already":
      return { migration: claim.state.migration, refusals: [] };
    case "refused":
      return { refusals: [refusalFrom(claim.error)] };
    case "earlier":
      try {
        return { migration: await earlierMigration(store, request, claim.migrationId), refusals: [] };
      } catch (thrown) {
        const error = SwitchoverError.from(thrown);
        if (error.code !== "ALREADY_EXISTS") throw error;
        return { refusals: [refusalFrom(error)] };
      }
  }
}

/** What one host says: all its refusals, and its NICs where it has the instance. */
interface HostAnswer {
  readonly refusals: readonly StartRefusal[];
  readonly nics: NonNullable<PreflightResponse["instance"]>["nics"] | null;
}

async function preflight(
  { agents, draining, hosts }: ValidationPorts,
  { guestId, spec }: MigrationRequest,
  side: Side,
): Promise<HostAnswer> {
  const hostId = (side === "source" ? spec.sourceHostId : spec.destinationHostId) as HostId;
  const instanceId = side === "source" ? spec.sourceInstanceId : spec.destinationInstanceId;
  const field = `spec.${side}_host_id`;
  const host = await hosts.get(hostId);
  if (host === null) return { refusals: [refusalFrom(hostUnknown(hostId, field), hostId)], nics: null };
  try {
    checkCapabilities(spec, side, host, field);
    if (side === "destination") draining.checkDestination(hostId, field);
  } catch (thrown) {
    return { refusals: [refusalFrom(SwitchoverError.from(thrown), hostId)], nics: null };
  }
  const role = side === "source" ? MigrationRole.SOURCE : MigrationRole.DESTINATION;
  const call = { deadlineMs: PREFLIGHT_WITHIN_MS, signal: new AbortController().signal };
  try {
    const answer = await agents.preflight(hostId, { guestId, instanceId, role, mode: spec.mode }, call);
    const refusals = answer.refusals.map((refusal) =>
      refusalOf(refusal.reason, refusal.sentence, refusal.field, hostId),
    );
    return { refusals, nics: answer.instance?.nics ?? null };
  } catch (thrown) {
    return { refusals: [hostRefusal(SwitchoverError.from(thrown), hostId, side, field)], nics: null };
  }
}

/** An agent names the fields of its own request. */
function hostRefusal(error: SwitchoverError, hostId: HostId, side: Side, hostField: string): StartRefusal {
  if (error.code === "UNAVAILABLE" || error.code === "DEADLINE_EXCEEDED") {
    const sentence = `The agent on ${hostId} does not answer: ${error.message}`;
    return { code: "UNAVAILABLE", reason: "HOST_SILENT", sentence, field: hostField, hostId };
  }
  const field = error.field === "instance_id" ? `spec.${side}_instance_id` : "spec.guest_id";
  return { ...refusalFrom(error, hostId), field };
}

function refusalsOf(attempt: () => unknown): readonly StartRefusal[] {
  try {
    attempt();
    return [];
  } catch (thrown) {
    return [refusalFrom(SwitchoverError.from(thrown))];
  }
}

function refusalFrom(error: SwitchoverError, hostId = ""): StartRefusal {
  const { code, reason, message: sentence, field = "" } = error;
  return { code, reason, sentence, field, hostId };
}

function refusalOf(reason: string, sentence: string, field = "", hostId = ""): StartRefusal {
  return { code: "FAILED_PRECONDITION", reason, sentence, field, hostId };
}
