import { FEED_EVENTS_FORGOTTEN } from "../../proto/feed-reason.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { AgentEnvelope, AgentEvent } from "./migration-event.ts";

/**
 * What the feed's message means to its migration; null where no agent speaks, or of no migration.
 *
 * What is new stands before what is spread: V8 makes a hidden class each time that something is added to a spread.
 */
export function agentEventOf(message: FeedEvent): AgentEvent | null {
  if (message.migrationId === "" || message.hostId === "") return null;
  const envelope: AgentEnvelope = {
    hostId: message.hostId,
    instanceId: message.instanceId,
    migrationId: message.migrationId,
    epoch: message.fence?.epoch ?? 0n,
    sequence: message.sequence,
    atUnixUs: message.atUnixUs,
  };
  const { event } = message;
  switch (event?.$case) {
    case "transferProgressed":
      return event.value.progress === undefined
        ? { t: "NotUnderstood", ...envelope }
        : { t: "TransferProgressed", progress: event.value.progress, ...envelope };
    case "transferStatusChanged":
      return { t: "TransferStatusChanged", ...envelope, ...event.value };
    case "cpusStopped":
      return { t: "CpusStopped", ...envelope, ...event.value };
    case "stopExplained":
      return { t: "StopExplained", runState: event.value.runState, ...envelope };
    case "nicsDeregistered":
      return { t: "NicsDeregistered", ...envelope, ...event.value };
    case "handedOff":
      return event.value.handOff === undefined
        ? { t: "NotUnderstood", ...envelope }
        : { t: "HandedOff", handOff: event.value.handOff, ...envelope };
    case "handOffReceived":
      return { t: "HandOffReceived", handOff: event.value.handOff, ...envelope };
    case "handOffAwaited":
      return { t: "HandOffAwaited", ...envelope, ...event.value };
    case "destinationReady":
      return { t: "DestinationReady", ...envelope, ...event.value };
    case "nicsRegistered":
      return { t: "NicsRegistered", ...envelope, ...event.value };
    case "cpusStarted":
      return { t: "CpusStarted", ...envelope, ...event.value };
    case "takenOverPaused":
      return { t: "TakenOverPaused", ...envelope, ...event.value };
    case "announced":
      return { t: "Announced", ...envelope, ...event.value };
    case "alarmRaised":
      if (event.value.reason === FEED_EVENTS_FORGOTTEN) return { t: "EventsForgotten", ...envelope };
      return { t: "AlarmRaised", reason: event.value.reason, sentence: event.value.sentence, ...envelope };
    case "vmmLost":
      return { t: "VmmLost", ...envelope, ...event.value };
    case "kept":
      return { t: "Kept", ...envelope, ...event.value };
    case "handedBack":
      return { t: "HandedBack", ...envelope, ...event.value };
    case "sourceResumed":
      return { t: "SourceResumed", ...envelope, ...event.value };
    case "transferStalled":
      return { t: "TransferStalled", ...envelope, ...event.value };
    case "registrationDrifted":
    case "registrationMended":
    case "nicAttached":
    case "nicDetached":
      return { t: "RegistrationChanged", ...envelope };
    case "vmmReported":
    case "phaseChanged":
    case undefined:
      return { t: "NotUnderstood", ...envelope };
  }
}
