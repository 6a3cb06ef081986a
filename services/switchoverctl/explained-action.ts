import type { Host } from "../../proto/gen/switchover/v1/host.ts";
import { type Migration, MigrationMode, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { isLeftToCaller } from "./explained-wait.ts";
import type { Action, ExplainedFacts, Wait } from "./explanation.ts";

/** Who has to act, and what to type next. */
export function actionIn(facts: ExplainedFacts, wait: Wait | null): Action {
  const { migration } = facts;
  switch (migration.phase) {
    case Phase.COMPLETED:
    case Phase.CANCELLED:
    case Phase.FAILED:
      return actionAtEnd(facts);
    case Phase.AMBIGUOUS:
      return actionWhileAmbiguous(facts, wait);
    case Phase.POST_COPY_PAUSED:
      return isLeftToCaller(migration)
        ? { who: "caller", sentence: "has the transfer recovered", commands: [typed("recover", migration)] }
        : actionForSilence(facts, wait);
    default:
      return actionForSilence(facts, wait);
  }
}

function actionAtEnd(facts: ExplainedFacts): Action {
  const { migration, source, destination } = facts;
  const receipt = typed("receipt", migration);
  switch (migration.outcome) {
    case Outcome.RUNS_ON_DESTINATION: {
      const sentence = `ends the VMM on ${migration.spec?.sourceHostId}, where that is left to do`;
      return { who: "control plane", sentence, commands: [receipt] };
    }
    case Outcome.RUNS_ON_SOURCE:
      return { who: "nobody", sentence: "", commands: [rehearsal(migration), receipt] };
    case Outcome.PAUSED_ON_SOURCE:
      return startedByOwner(migration, source, receipt);
    case Outcome.PAUSED_ON_DESTINATION:
      return startedByOwner(migration, destination, receipt);
    case Outcome.GUEST_LOST: {
      const sentence = "starts the guest anew, as at a first boot: it runs nowhere";
      return { who: "control plane", sentence, commands: [receipt] };
    }
    default:
      return { who: "nobody", sentence: "", commands: [receipt] };
  }
}

function startedByOwner(migration: Migration, host: Host | null, receipt: string): Action {
  const start =
    host === null
      ? []
      : [`switchoverctl start-cpus --agent ${host.target} --guest ${migration.spec?.guestId}`];
  return {
    who: "guest's owner",
    sentence: "starts the guest, when it is to run",
    commands: [...start, receipt],
  };
}

/** Whether the same would be refused now. */
function rehearsal({ spec }: Migration): string {
  const mode = spec?.mode === MigrationMode.POST_COPY ? " --mode post-copy" : "";
  const route = `--guest ${spec?.guestId} --from ${spec?.sourceHostId} --to ${spec?.destinationHostId}`;
  return `switchoverctl migrate ${route}${mode} --dry-run`;
}

function actionWhileAmbiguous(facts: ExplainedFacts, wait: Wait | null): Action {
  const { migration } = facts;
  const { reasonCode } = migration;
  if (reasonCode !== "SOURCE_SILENT" && reasonCode !== "DESTINATION_SILENT")
    return actionForSilence(facts, wait);
  return bringBackOrDeclareDead(migration, wait?.on ?? []);
}

/** Phases that agents go through by themselves, and in which nobody's death needs to be stated. */
const BEFORE_THE_SWITCH: readonly Phase[] = [Phase.PENDING, Phase.PREPARING, Phase.TRANSFERRING];

/** The guest's memory is on two hosts. */
const IN_POST_COPY: readonly Phase[] = [Phase.POST_COPY, Phase.POST_COPY_PAUSED, Phase.POST_COPY_RECOVERING];

/** Nobody, unless a host that is waited for has no agent that lives. */
function actionForSilence({ migration, source, destination }: ExplainedFacts, wait: Wait | null): Action {
  const isLiving = (hostId: string) => source?.hostId === hostId || destination?.hostId === hostId;
  const silent = (wait?.on ?? []).filter((hostId) => !isLiving(hostId));
  const watch = typed("watch", migration);
  if (silent.length === 0) return { who: "nobody", sentence: "", commands: [watch] };
  if (!BEFORE_THE_SWITCH.includes(migration.phase)) return bringBackOrDeclareDead(migration, silent);
  const sentence = `brings the agent on ${silent.join(" and ")} back, or cancels`;
  return { who: "operator", sentence, commands: [watch, typed("cancel", migration)] };
}

function bringBackOrDeclareDead(migration: Migration, hostIds: readonly string[]): Action {
  const back = `brings the agent on ${hostIds.join(" and ")} back`;
  const dead = IN_POST_COPY.includes(migration.phase)
    ? "a host that is dead takes the guest with it"
    : "or states that the host is dead, once it is powered off";
  const sentence = `${back}; ${dead}`;
  const commands = hostIds.map((hostId) => {
    const flag = hostId === migration.spec?.sourceHostId ? "--source-dead" : "--destination-dead";
    return typed("resolve", migration, ` ${flag}`);
  });
  return { who: "operator", sentence, commands };
}

function typed(command: string, { migrationId }: Migration, flags = ""): string {
  return `switchoverctl ${command} ${migrationId}${flags}`;
}
