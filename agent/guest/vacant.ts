import { type Guest, newTie } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { alarm, type Step, step } from "./step.ts";

/** A VMM that waits for a guest: it has no right to run until a migration brings it. */
export function evolveVacant(guest: Guest, event: GuestEvent): Step {
  switch (event.kind) {
    case "destinationPrepared":
      return step(
        {
          ...guest,
          fence: event.fence,
          migration: newTie({ migrationId: event.migrationId, mode: event.mode, side: "destination" }),
          role: {
            kind: "incoming",
            sourceHostId: event.sourceHostId,
            loaded: false,
            readinessReads: 0,
            ready: null,
            handOff: null,
            registrationAsked: false,
            contSentAtUnixUs: null,
          },
        },
        [
          {
            kind: "journal",
            word: {
              kind: "prepared",
              fence: event.fence,
              migrationId: event.migrationId,
              sourceHostId: event.sourceHostId,
              mode: event.mode,
            },
          },
        ],
      );
    case "cpusResumed":
      return step(guest, [
        { kind: "sendStop" },
        alarm(
          "RAN_WITHOUT_RIGHT",
          "The CPUs of a waiting VMM ran before any hand-off; they were stopped at once.",
        ),
      ]);
    default:
      return step(guest);
  }
}
