import {
  InstantKind,
  type Migration,
  MigrationMode,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import type { Wait } from "./explanation.ts";

/**
 * What comes next in a migration, and who does it; null for one that has ended. What keeps that from happening is the
 * migration's own reason, in the coordinator's words.
 */
export function waitIn(migration: Migration): Wait | null {
  const source = migration.spec?.sourceHostId ?? "";
  const destination = migration.spec?.destinationHostId ?? "";
  switch (migration.phase) {
    case Phase.PENDING:
      return migration.queuePlace === undefined
        ? { sentence: "a coordinator, which is to begin it", on: [] }
        : { sentence: "its turn", on: [] };
    case Phase.PREPARING:
      return {
        sentence: `both agents: preflight, then ${destination} is made ready and ${source} armed`,
        on: [source, destination],
      };
    case Phase.TRANSFERRING:
      return {
        sentence: `the VMM on ${source} to copy the guest's memory${whenItSwitches(migration)}`,
        on: [source],
      };
    case Phase.SWITCHING_OVER:
      return nextStep(migration, source, destination);
    case Phase.POST_COPY:
      return {
        sentence: `the VMM on ${source} to send the remaining pages to ${destination}, where the guest is`,
        on: [source, destination],
      };
    case Phase.POST_COPY_PAUSED:
      return isLeftToCaller(migration)
        ? { sentence: "a caller, who is to have the transfer recovered", on: [] }
        : {
            sentence: "both VMMs to connect anew, which they are told by themselves",
            on: [source, destination],
          };
    case Phase.POST_COPY_RECOVERING:
      return { sentence: "both VMMs to go on with the transfer", on: [source, destination] };
    case Phase.COMPLETING:
      return {
        sentence: `the agent on ${source} to release the guest's devices, and the last words of both agents`,
        on: [source],
      };
    case Phase.CANCELLING:
    case Phase.ROLLING_BACK:
      return {
        sentence: `the agent on ${source} to say that it keeps the guest, and the one on ${destination} to let it go`,
        on: [source, destination],
      };
    case Phase.HANDING_BACK:
      return {
        sentence: `the agent on ${destination} to say that it never started the guest, and the one on ${source} to take it back`,
        on: [destination, source],
      };
    case Phase.AMBIGUOUS:
      return whoIsSilent(migration, source, destination);
    case Phase.COMPLETED:
    case Phase.CANCELLED:
    case Phase.FAILED:
      return null;
    default:
      return { sentence: "something that only a newer switchoverctl knows", on: [] };
  }
}

/** The transfer stays paused until somebody asks. */
export function isLeftToCaller({ reasonCode }: Migration): boolean {
  return reasonCode === "PAUSED_BY_CALLER" || reasonCode === "BREAKS_AGAIN";
}

function whenItSwitches({ spec }: Migration): string {
  if (spec?.mode !== MigrationMode.POST_COPY) return ", until the rest fits into the stop that is allowed";
  switch (spec.postCopy?.trigger?.$case) {
    case "afterPasses":
      return `; the CPUs move after pass ${spec.postCopy.trigger.value}`;
    case "afterMs":
      return "; the CPUs move when their time has come";
    default:
      return "; the CPUs move at once";
  }
}

/** By the last step that was told; a guest that was not running begins with the hand-off. */
function nextStep({ instants }: Migration, source: string, destination: string): Wait {
  const isTold = (kind: InstantKind) => instants.some((instant) => instant.kind === kind);
  const at = (host: string, sentence: string): Wait => ({ sentence, on: [host] });
  if (isTold(InstantKind.CONT_SENT)) return at(destination, `the VMM on ${destination} to start the CPUs`);
  if (isTold(InstantKind.REGISTERED)) return at(destination, `the agent on ${destination} to start the CPUs`);
  if (isTold(InstantKind.HAND_OFF_RECEIVED)) {
    return isTold(InstantKind.READY)
      ? at(destination, `the agent on ${destination} to register the guest`)
      : at(destination, `the VMM on ${destination} to have loaded the guest`);
  }
  if (isTold(InstantKind.HANDED_OFF)) {
    return at(destination, `the agent on ${destination} to receive the source's word`);
  }
  if (isTold(InstantKind.DEREGISTERED)) {
    return at(source, `the agent on ${source} to hand the guest off, once its VMM cannot resume it any more`);
  }
  if (isTold(InstantKind.STOPPED) || isTold(InstantKind.STOP_RECEIVED)) {
    return at(source, `the agent on ${source} to deregister the guest`);
  }
  return at(source, `the VMM on ${source} to stop the CPUs`);
}

function whoIsSilent({ reasonCode }: Migration, source: string, destination: string): Wait {
  switch (reasonCode) {
    case "SOURCE_SILENT":
      return { sentence: `the agent on ${source} to answer`, on: [source] };
    case "DESTINATION_SILENT":
      return { sentence: `the agent on ${destination} to answer`, on: [destination] };
    default:
      return { sentence: "both agents to say which of them has the guest", on: [source, destination] };
  }
}
