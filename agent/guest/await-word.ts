import type { HostId } from "../../proto/ids.ts";
import { type Guest, type Incoming, newTie } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { type Step, step } from "./step.ts";

/** Waits from the beginning: nothing loaded, no word. */
export function awaitWord(sourceHostId: HostId, memory: Incoming["memory"] = "whole"): Incoming {
  return {
    kind: "incoming",
    sourceHostId,
    loaded: false,
    ready: null,
    handOff: null,
    registrationAsked: false,
    readBackAtUnixUs: null,
    contSentAtUnixUs: null,
    wayBack: "open",
    givenUp: null,
    memory,
  };
}

/** A migration claims the waiting VMM; what an older one left is forgotten. Journaled before the VMM is touched. */
export function claimForMigration(guest: Guest, event: GuestEvent & { kind: "destinationPrepared" }): Step {
  const { bootId, fence, migrationId, mode, sourceHostId } = event;
  return step(
    {
      ...guest,
      fence,
      migration: newTie({ migrationId, mode, side: "destination", bootId }),
      role: awaitWord(sourceHostId),
    },
    [{ kind: "journal", word: { kind: "prepared", fence, migrationId, sourceHostId, mode, bootId } }],
  );
}
