import { SwitchoverError } from "../../proto/error.ts";
import type { Drain } from "../../proto/gen/switchover/v1/drain.ts";
import { type GuestInstance, MigrationRole, RightToRun } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  DescribeResponse,
  GetGuestResponse,
  PreflightRequest,
  PreflightResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { HostId } from "../../proto/ids.ts";
import type { AgentCall } from "../runner/agent-port.ts";
import { type Hindrance, NOT_PREPARED, type Trial } from "./drained-guests.ts";
import type { DrainingHosts } from "./draining-hosts.ts";

/** What a drain asks of agents; none of it changes anything. Failures as AgentPort's. */
export interface DrainedHostPort {
  describe(hostId: HostId, call: AgentCall): Promise<DescribeResponse>;
  getGuest(hostId: HostId, guestId: string, call: AgentCall): Promise<GetGuestResponse>;
  preflight(hostId: HostId, request: PreflightRequest, call: AgentCall): Promise<PreflightResponse>;
}

/** Questions to one agent at a time, and how long each may take. */
const QUESTIONS_AT_A_TIME = 8;
const ANSWER_WITHIN_MS = 1_500;

/** A migration by which a guest may be on its way to the drained host, or have its pages sent from there yet. */
export interface PassingGuest {
  readonly guestId: string;
  readonly migrationId: string;
}

/** Who lives on the drained host, and what the destinations have. */
export interface Survey {
  /** Guests with an instance that may run there; null where that is not known. */
  readonly living: ReadonlySet<string> | null;
  /** By instances that may not run there; their migrations may have ended. */
  readonly passing: readonly PassingGuest[];
  readonly hindrance: Hindrance | null;
  /** Guests with any instance, by destination; those that do not answer have none. */
  readonly preparedAt: ReadonlyMap<string, ReadonlySet<string>>;
}

export async function surveyDrain(
  hosts: DrainedHostPort,
  { spec }: Drain,
  signal: AbortSignal,
): Promise<Survey> {
  const call = { deadlineMs: ANSWER_WITHIN_MS, signal };
  const hostId = (spec?.hostId ?? "") as HostId;
  const destinations = spec?.destinationHostIds ?? [];
  const [found, prepared] = await Promise.all([
    livingOn(hosts, hostId, call),
    Promise.all(
      destinations.map(async (destination) => {
        const guestIds = await hosts.describe(destination as HostId, call).then(
          (answer) => answer.guestIds,
          () => [],
        );
        return [destination, new Set(guestIds)] as const;
      }),
    ),
  ]);
  return { ...found, preparedAt: new Map(prepared) };
}

async function livingOn(
  hosts: DrainedHostPort,
  hostId: HostId,
  call: AgentCall,
): Promise<Pick<Survey, "living" | "passing" | "hindrance">> {
  try {
    const { guestIds } = await hosts.describe(hostId, call);
    const answers = await inTurns(guestIds, (guestId) => instancesOf(hosts, hostId, guestId, call));
    const instances = answers.flat();
    const living = instances.filter(({ rightToRun }) => rightToRun === RightToRun.HELD);
    const passing = instances.filter(isPassing);
    return { living: new Set(living.map(({ guestId }) => guestId)), passing, hindrance: null };
  } catch (thrown) {
    const { message } = SwitchoverError.from(thrown);
    const reason = `The agent on ${hostId} does not say who lives there: ${message}`;
    return { living: null, passing: [], hindrance: { reasonCode: "HOST_SILENT", reason } };
  }
}

async function instancesOf(
  hosts: DrainedHostPort,
  hostId: HostId,
  guestId: string,
  call: AgentCall,
): Promise<readonly GuestInstance[]> {
  try {
    return (await hosts.getGuest(hostId, guestId, call)).instances;
  } catch (thrown) {
    // Gone since the host named it.
    if (SwitchoverError.from(thrown).code === "NOT_FOUND") return [];
    throw thrown;
  }
}

function isPassing({ migrationId, rightToRun }: GuestInstance): boolean {
  const mayBeBound = rightToRun === RightToRun.AWAITED || rightToRun === RightToRun.HANDED_OFF;
  return mayBeBound && migrationId !== "";
}

/** Asks the destinations in their order, and takes the first that nothing refuses at. */
export async function tryGuest(
  { draining, hosts }: { readonly draining: DrainingHosts; readonly hosts: DrainedHostPort },
  { spec }: Drain,
  {
    guestId,
    destinationHostIds,
  }: { readonly guestId: string; readonly destinationHostIds: readonly string[] },
  signal: AbortSignal,
): Promise<Trial> {
  const call = { deadlineMs: ANSWER_WITHIN_MS, signal };
  let hindrance: Hindrance = NOT_PREPARED;
  for (const destinationHostId of destinationHostIds) {
    const request = {
      guestId,
      instanceId: "",
      role: MigrationRole.DESTINATION,
      mode: spec?.mode ?? 0,
    };
    try {
      draining.checkDestination(destinationHostId as HostId, "spec.destination_host_ids");
      const { refusals } = await hosts.preflight(destinationHostId as HostId, request, call);
      const [first] = refusals;
      if (first === undefined) return { guestId, destinationHostId };
      hindrance = {
        reasonCode: first.reason,
        reason: `Host ${destinationHostId} refuses: ${first.sentence}`,
      };
    } catch (thrown) {
      const { reason: reasonCode, message } = SwitchoverError.from(thrown);
      hindrance = { reasonCode, reason: `Host ${destinationHostId} does not take it: ${message}` };
    }
  }
  return { guestId, hindrance };
}

/** `ask` of each, some at a time, in their order. Rejects with the first that does, once no more is asked. */
export async function inTurns<T, R>(of: readonly T[], ask: (each: T) => Promise<R>): Promise<R[]> {
  const answers: R[] = [];
  const left = [...of.entries()].reverse();
  const askOn = async (): Promise<void> => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      try {
        answers[next[0]] = await ask(next[1]);
      } catch (thrown) {
        left.length = 0;
        throw thrown;
      }
    }
  };
  await Promise.all(Array.from({ length: QUESTIONS_AT_A_TIME }, askOn));
  return answers;
}
