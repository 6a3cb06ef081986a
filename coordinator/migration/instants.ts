import { type Instant, InstantKind } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, hostOf, type Side, withMigration } from "./complete-state.ts";
import type { AgentEvent } from "./migration-event.ts";

/**
 * The instants of a switchover, as the agents tell them: one a kind, in order of time.
 *
 * The owner may pause and start the guest during the transfer, so the source's last stop before its hand-off is
 * the switchover's; of everything else the first counts.
 */
export function withInstantsOf(state: CompleteState, side: Side, event: AgentEvent): CompleteState {
  const hostId = hostOf(state, side);
  const told = instantsOf(side, event);
  const stopMayMove = !state.handedOff;
  let { instants } = state.migration;
  for (const { kind, atUnixUs, certainty } of told) {
    if (atUnixUs === 0n) continue;
    const known = instants.find((instant) => instant.kind === kind);
    if (known !== undefined && !(stopMayMove && certainty === "latest")) continue;
    instants = [...instants.filter((instant) => instant !== known), { kind, hostId, atUnixUs }];
  }
  if (instants === state.migration.instants) return state;
  return withMigration(state, { instants: [...instants].sort(inOrderOfTime) });
}

function inOrderOfTime(left: Instant, right: Instant): number {
  if (left.atUnixUs !== right.atUnixUs) return left.atUnixUs < right.atUnixUs ? -1 : 1;
  return left.kind - right.kind;
}

interface ToldInstant {
  readonly kind: InstantKind;
  readonly atUnixUs: bigint;
  readonly certainty: "first" | "latest";
}

function instantsOf(side: Side, event: AgentEvent): readonly ToldInstant[] {
  return side === "source" ? instantsOfSource(event) : instantsOfDestination(event);
}

function instantsOfSource(event: AgentEvent): readonly ToldInstant[] {
  switch (event.t) {
    case "CpusStopped":
      return [
        { kind: InstantKind.STOPPED, atUnixUs: event.stoppedAtUnixUs, certainty: "latest" },
        { kind: InstantKind.STOP_RECEIVED, atUnixUs: event.receivedAtUnixUs, certainty: "latest" },
      ];
    case "NicsDeregistered":
      return [{ kind: InstantKind.DEREGISTERED, atUnixUs: event.deregisteredAtUnixUs, certainty: "latest" }];
    case "HandedOff":
      return [
        { kind: InstantKind.STOP_RECEIVED, atUnixUs: event.handOff.stoppedAtUnixUs, certainty: "first" },
        { kind: InstantKind.DEREGISTERED, atUnixUs: event.handOff.deregisteredAtUnixUs, certainty: "first" },
        { kind: InstantKind.HANDED_OFF, atUnixUs: event.handOff.journaledAtUnixUs, certainty: "first" },
      ];
    default:
      return [];
  }
}

function instantsOfDestination(event: AgentEvent): readonly ToldInstant[] {
  switch (event.t) {
    case "HandOffReceived":
      return [{ kind: InstantKind.HAND_OFF_RECEIVED, atUnixUs: event.atUnixUs, certainty: "first" }];
    case "DestinationReady":
      return [{ kind: InstantKind.READY, atUnixUs: event.readyAtUnixUs, certainty: "first" }];
    case "NicsRegistered":
      return [{ kind: InstantKind.REGISTERED, atUnixUs: event.registeredAtUnixUs, certainty: "first" }];
    case "CpusStarted":
      return [
        { kind: InstantKind.CONT_SENT, atUnixUs: event.contSentAtUnixUs, certainty: "first" },
        { kind: InstantKind.RESUMED, atUnixUs: event.resumedAtUnixUs, certainty: "first" },
      ];
    case "Announced":
      return event.round === 1
        ? [{ kind: InstantKind.ANNOUNCED, atUnixUs: event.announcedAtUnixUs, certainty: "first" }]
        : [];
    default:
      return [];
  }
}

/** Everything that a switchover of this guest has to tell is told. */
export function areInstantsComplete(state: CompleteState): boolean {
  const kinds = new Set(state.migration.instants.map((instant) => instant.kind));
  // A guest that its owner had stopped is neither stopped, registered, started nor announced.
  const wasRunning = (state.handOff?.runState ?? "running") === "running";
  const expected = wasRunning
    ? [InstantKind.DEREGISTERED, InstantKind.HANDED_OFF, InstantKind.REGISTERED, InstantKind.ANNOUNCED]
    : [InstantKind.HANDED_OFF];
  return expected.every((kind) => kinds.has(kind));
}
