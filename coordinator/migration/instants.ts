import { AnnouncementsEndedBy } from "../../proto/gen/switchover/v1/feed.ts";
import { type Instant, InstantKind } from "../../proto/gen/switchover/v1/migration.ts";
import { type CompleteState, hostOf, type Side, withFacts, withMigration } from "./complete-state.ts";
import type { AgentEvent } from "./migration-event.ts";

/**
 * The instants of a switchover, as the agents tell them: one a kind, announcement and NIC, in order of time.
 *
 * The owner may pause and start the guest during the transfer, so the source's last stop before its hand-off is
 * the switchover's; of everything else the first counts.
 */
export function withInstantsOf(state: CompleteState, side: Side, event: AgentEvent): CompleteState {
  const hostId = hostOf(state, side);
  const told = instantsOf(side, event);
  const stopMayMove = !state.handedOff;
  let { instants } = state.migration;
  for (const { kind, atUnixUs, certainty, round = 0, nicId = "" } of told) {
    if (atUnixUs === 0n || instants.length >= INSTANTS_AT_MOST) continue;
    const known = instants.find(
      (instant) => instant.kind === kind && instant.round === round && instant.nicId === nicId,
    );
    if (known !== undefined && !(stopMayMove && certainty === "latest")) continue;
    instants = [...instants.filter((instant) => instant !== known), { kind, hostId, atUnixUs, round, nicId }];
  }
  const timed =
    instants === state.migration.instants
      ? state
      : withMigration(state, { instants: [...instants].sort(inOrderOfTime) });
  return endsAnnouncements(side, event) ? withFacts(timed, { announcementsEnded: true }) : timed;
}

/** A guest with a thousand NICs has a first frame of each; beyond that a record is for other things. */
const INSTANTS_AT_MOST = 1_100;

/** The last of them; a guest that stops is announced no more either. */
function endsAnnouncements(side: Side, event: AgentEvent): boolean {
  if (side !== "destination") return false;
  if (event.t === "Announced") return event.endedBy !== undefined;
  return event.t === "CpusStopped" || event.t === "VmmLost";
}

function inOrderOfTime(left: Instant, right: Instant): number {
  if (left.atUnixUs !== right.atUnixUs) return left.atUnixUs < right.atUnixUs ? -1 : 1;
  return placeInOrder(left.kind) - placeInOrder(right.kind);
}

/** Kinds are numbered in the order in which they happen, but for one that came later. */
function placeInOrder(kind: InstantKind): number {
  return kind === InstantKind.REGISTRATION_SENT ? InstantKind.REGISTERED - 0.5 : kind;
}

interface ToldInstant {
  readonly kind: InstantKind;
  readonly atUnixUs: bigint;
  readonly certainty: "first" | "latest";
  readonly round?: number;
  readonly nicId?: string;
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
      return [
        {
          kind: InstantKind.REGISTRATION_SENT,
          atUnixUs: event.registrationSentAtUnixUs,
          certainty: "first",
        },
        { kind: InstantKind.REGISTERED, atUnixUs: event.registeredAtUnixUs, certainty: "first" },
      ];
    case "CpusStarted":
      return [
        { kind: InstantKind.CONT_SENT, atUnixUs: event.contSentAtUnixUs, certainty: "first" },
        { kind: InstantKind.RESUMED, atUnixUs: event.resumedAtUnixUs, certainty: "first" },
      ];
    case "Announced":
      return [
        ...(event.endedBy === AnnouncementsEndedBy.EVIDENCE
          ? []
          : [
              {
                kind: InstantKind.ANNOUNCED,
                atUnixUs: event.announcedAtUnixUs,
                certainty: "first" as const,
                round: event.round,
              },
            ]),
        ...event.firstFrames.map(({ nicId, atUnixUs }) => ({
          kind: InstantKind.FIRST_FRAME,
          atUnixUs,
          certainty: "first" as const,
          nicId,
        })),
      ];
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
  return expected.every((kind) => kinds.has(kind)) && (!wasRunning || state.announcementsEnded);
}
