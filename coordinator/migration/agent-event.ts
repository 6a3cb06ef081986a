import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { AgentEnvelope, AgentEvent } from "./migration-event.ts";

/** What the feed's message means to its migration; null where no agent speaks, or of no migration. */
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
        ? { ...envelope, t: "NotUnderstood" }
        : { ...envelope, t: "TransferProgressed", progress: event.value.progress };
    case "transferStatusChanged":
      return { ...envelope, ...event.value, t: "TransferStatusChanged" };
    case "cpusStopped":
      return { ...envelope, ...event.value, t: "CpusStopped" };
    case "nicsDeregistered":
      return { ...envelope, ...event.value, t: "NicsDeregistered" };
    case "handedOff":
      return event.value.handOff === undefined
        ? { ...envelope, t: "NotUnderstood" }
        : { ...envelope, t: "HandedOff", handOff: event.value.handOff };
    case "handOffReceived":
      return { ...envelope, t: "HandOffReceived", handOff: event.value.handOff };
    case "handOffAwaited":
      return { ...envelope, ...event.value, t: "HandOffAwaited" };
    case "destinationReady":
      return { ...envelope, ...event.value, t: "DestinationReady" };
    case "nicsRegistered":
      return { ...envelope, ...event.value, t: "NicsRegistered" };
    case "cpusStarted":
      return { ...envelope, ...event.value, t: "CpusStarted" };
    case "takenOverPaused":
      return { ...envelope, ...event.value, t: "TakenOverPaused" };
    case "announced":
      return { ...envelope, ...event.value, t: "Announced" };
    case "alarmRaised":
      return { ...envelope, t: "AlarmRaised", reason: event.value.reason, sentence: event.value.sentence };
    case "vmmLost":
      return { ...envelope, ...event.value, t: "VmmLost" };
    case "kept":
      return { ...envelope, ...event.value, t: "Kept" };
    case "handedBack":
      return { ...envelope, ...event.value, t: "HandedBack" };
    case "sourceResumed":
      return { ...envelope, ...event.value, t: "SourceResumed" };
    case "transferStalled":
      return { ...envelope, ...event.value, t: "TransferStalled" };
    case "registrationDrifted":
    case "registrationMended":
      return { ...envelope, t: "RegistrationChanged" };
    case "phaseChanged":
    case undefined:
      return { ...envelope, t: "NotUnderstood" };
  }
}
