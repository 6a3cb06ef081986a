import { type Guest, newTie, type Resident } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { retryDelayMs } from "./registration-retry.ts";
import { alarm, type Step, step } from "./step.ts";

/** Holds the right to run: registrations follow the CPUs, and an order to start registers first. */
export function evolveResident(guest: Guest, role: Resident, event: GuestEvent): Step {
  const as = (next: Partial<Resident>): Guest => ({ ...guest, role: { ...role, ...next } });
  switch (event.kind) {
    case "startOrdered":
      if (guest.cpus.kind === "running" || role.start !== "none") return step(guest);
      return step(as({ start: "registering" }), [{ kind: "registerNics" }]);
    case "nicsRegistered":
      if (role.start !== "registering") return step(guest);
      return step(as({ start: "contSent" }), [{ kind: "sendCont" }]);
    case "nicsRegistrationRefused":
      if (role.start === "registering") return step(as({ start: "none" }));
      return step(guest, [{ kind: "setTimer", timer: "retryRegistration", delayMs: retryDelayMs(guest) }]);
    case "contSent":
      return step(as({ contSentAtUnixUs: event.atUnixUs }));
    case "contRefused":
      return step(as({ start: "none", contSentAtUnixUs: null }), [
        { kind: "deregisterNics" },
        alarm("CONT_REFUSED", event.sentence),
      ]);
    case "stopOrdered":
      return guest.cpus.kind === "stopped" ? step(guest) : step(guest, [{ kind: "sendStop" }]);
    case "cpusStopped":
      return step(as({ start: "none", contSentAtUnixUs: null }), [
        { kind: "readRunState", purpose: "stopCause" },
      ]);
    case "cpusResumed":
      if (guest.registration === "registered") return step(as({ start: "none" }), [{ kind: "announce" }]);
      return step(as({ start: "none" }), [
        { kind: "registerNics" },
        { kind: "announce" },
        alarm(
          "RESUMED_OUTSIDE_GATE",
          "The CPUs were started by someone else; the NICs were registered after them.",
        ),
      ]);
    case "sourceArmed":
      return step(
        {
          ...guest,
          fence: event.fence,
          migration: newTie({ migrationId: event.migrationId, mode: event.mode, side: "source" }),
          role: {
            kind: "outgoing",
            destinationHostId: event.destinationHostId,
            pointOfNoReturn: event.pointOfNoReturn,
            runStateBefore: guest.cpus.kind === "running" ? "running" : guest.cpus.runState,
            stop: null,
            confirmations: 0,
            canFailBack: true,
          },
        },
        [
          {
            kind: "journal",
            word: {
              kind: "armed",
              fence: event.fence,
              migrationId: event.migrationId,
              destinationHostId: event.destinationHostId,
              mode: event.mode,
              pointOfNoReturn: event.pointOfNoReturn,
              runState: guest.cpus.kind === "running" ? "running" : guest.cpus.runState,
            },
          },
        ],
      );
    default:
      return step(guest);
  }
}
