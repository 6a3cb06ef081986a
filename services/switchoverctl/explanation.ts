import type { Host } from "../../proto/gen/switchover/v1/host.ts";
import { type Migration, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import type { Receipt } from "../../proto/gen/switchover/v1/receipt.ts";
import { actionIn } from "./explained-action.ts";
import { deadlinesIn } from "./explained-deadlines.ts";
import { waitIn } from "./explained-wait.ts";
import { transferText } from "./progress-line.ts";

/** What is known of a migration, and of those who take part. */
export interface ExplainedFacts {
  readonly migration: Migration;
  /** Null where no agent speaks for the host. */
  readonly source: Host | null;
  readonly destination: Host | null;
  /** Of one that has ended, for as long as it is kept. */
  readonly receipt: Receipt | null;
  readonly nowUnixUs: bigint;
}

/** What a migration waits for; `on` are the hosts whose agent or VMM it is for, none where it is somebody else. */
export interface Wait {
  readonly sentence: string;
  readonly on: readonly string[];
}

export interface ExplainedDeadline {
  readonly atUnixUs: bigint;
  /** What happens then. */
  readonly sentence: string;
}

/** Who has to do something, for the migration does not go on, or the guest does not run, without them. */
export interface Action {
  readonly who: "nobody" | "operator" | "caller" | "control plane" | "guest's owner";
  /** Empty for nobody. */
  readonly sentence: string;
  /** What to type next, the likeliest first. */
  readonly commands: readonly string[];
}

export interface ExplainedHost {
  readonly hostId: string;
  readonly role: "source" | "destination";
  /** Null where no agent speaks for the host. */
  readonly heartbeatAgeMs: number | null;
}

/** Why a migration stands where it stands; `wait` is null for one that has ended. */
export interface Explanation {
  readonly migration: Migration;
  readonly sinceUnixUs: bigint;
  readonly inPhaseMs: number;
  readonly wait: Wait | null;
  /** How far the copy of memory is; empty where there is nothing to say. */
  readonly transfer: string;
  readonly deadlines: readonly ExplainedDeadline[];
  readonly hosts: readonly ExplainedHost[];
  readonly receipt: Receipt | null;
  readonly action: Action;
}

/** Explains a migration by what the coordinator and both hosts say. Pure, and complete: every phase has an answer. */
export function explainMigration(facts: ExplainedFacts): Explanation {
  const { migration, receipt, nowUnixUs } = facts;
  const sinceUnixUs = migration.phases.at(-1)?.atUnixUs ?? migration.requestedAtUnixUs;
  const wait = waitIn(migration);
  return {
    migration,
    sinceUnixUs,
    inPhaseMs: Math.max(0, Number((nowUnixUs - sinceUnixUs) / 1_000n)),
    wait,
    transfer: BEFORE_ALL_IS_THERE.includes(migration.phase) ? transferText(migration) : "",
    deadlines: deadlinesIn(migration),
    hosts: hostsIn(facts),
    receipt,
    action: actionIn(facts, wait),
  };
}

const BEFORE_ALL_IS_THERE: readonly Phase[] = [
  Phase.TRANSFERRING,
  Phase.SWITCHING_OVER,
  Phase.POST_COPY,
  Phase.POST_COPY_PAUSED,
  Phase.POST_COPY_RECOVERING,
];

function hostsIn({ migration, source, destination }: ExplainedFacts): readonly ExplainedHost[] {
  const age = (host: Host | null) => (host === null ? null : Number(host.heartbeatAgeMs));
  return [
    { hostId: migration.spec?.sourceHostId ?? "", role: "source", heartbeatAgeMs: age(source) },
    {
      hostId: migration.spec?.destinationHostId ?? "",
      role: "destination",
      heartbeatAgeMs: age(destination),
    },
  ];
}
