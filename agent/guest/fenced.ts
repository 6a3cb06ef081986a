import { HandOffRoute } from "../../proto/gen/switchover/v1/feed.ts";
import { awaitWord } from "./await-word.ts";
import { endVmm } from "./fence.ts";
import { stopWithoutRight } from "./guard.ts";
import type { Fenced, Guest, Incoming } from "./guest.ts";
import type { GuestEvent } from "./guest-event.ts";
import { receiveWord } from "./incoming.ts";
import { raiseFence, type Step, step, told } from "./step.ts";

/** Never started, and never will be under its epoch. A word that comes all the same is answered with the hand-back. */
export function evolveFenced(guest: Guest, role: Fenced, event: GuestEvent): Step {
  switch (event.kind) {
    case "cpusResumed":
      return stopWithoutRight(
        guest,
        "The CPUs ran after the guest was handed back; they were stopped at once.",
      );
    case "handOffReceived":
      return isReissued(guest, role, event) ? startAfterAll(guest, event) : answerWord(guest, role, event);
    case "handBackOrdered":
      return handBackAgain(guest, role, event);
    case "abortOrdered":
      return release({ ...guest, fence: event.fence }, role);
    case "vmmLost":
      return step(guest, role.released === "released" ? [{ kind: "releaseDevices" }] : []);
    case "timerFired":
      return retry(guest, role, event);
    default:
      return step(guest);
  }
}

/** The same word, under a newer epoch too: it is what a late preparation under that one must find. */
function handBackAgain(
  guest: Guest,
  role: Fenced,
  { fence }: GuestEvent & { kind: "handBackOrdered" },
): Step {
  if (fence.epoch === guest.fence.epoch) return raiseFence(guest, fence);
  const { sentence } = role;
  return step({ ...guest, fence }, [{ kind: "journal", word: { kind: "handedBack", fence, sentence } }]);
}

function release(guest: Guest, role: Fenced): Step {
  if (role.released === "released") return step(guest);
  const released: Fenced = { ...role, vmm: "ending", released: "released" };
  return step({ ...guest, role: released }, [
    { kind: "journal", word: { kind: "released", fence: guest.fence } },
    ...endVmm(guest, released),
  ]);
}

function retry(guest: Guest, role: Fenced, event: GuestEvent & { kind: "timerFired" }): Step {
  if (event.timer === "quitAgain" && role.vmm === "ending" && guest.vmm === "connected") {
    return step(guest, endVmm(guest, role));
  }
  return event.timer === "stopAgain" && guest.cpus.kind === "running"
    ? stopWithoutRight(guest, "The CPUs still run after the hand-back; they are stopped again.")
    : step(guest);
}

function answerWord(guest: Guest, role: Fenced, event: GuestEvent & { kind: "handOffReceived" }): Step {
  const { fence: ofWord, migrationId } = event.handOff;
  const isOwn = ofWord?.epoch === guest.fence.epoch && migrationId === guest.migration?.migrationId;
  return step(guest, isOwn ? [told({ $case: "handedBack", value: { sentence: role.sentence } })] : []);
}

/** The source could not take the guest back, and the coordinator gives this side the right under a higher epoch. */
function isReissued(guest: Guest, role: Fenced, event: GuestEvent & { kind: "handOffReceived" }): boolean {
  const { fence: ofWord, migrationId } = event.handOff;
  return (
    event.route === HandOffRoute.GRPC &&
    role.vmm === "heldForSource" &&
    guest.vmm === "connected" &&
    ofWord !== undefined &&
    ofWord.epoch > guest.fence.epoch &&
    migrationId === guest.migration?.migrationId
  );
}

function startAfterAll(guest: Guest, event: GuestEvent & { kind: "handOffReceived" }): Step {
  const { handOff } = event;
  const { migration } = guest;
  if (migration === null || handOff.fence === undefined) return step(guest);
  const role: Incoming = {
    ...awaitWord(handOff.sourceHostId as Incoming["sourceHostId"]),
    loaded: true,
    wayBack: "none",
  };
  const again: Guest = { ...guest, fence: handOff.fence, role };
  const taken = receiveWord(again, role, event);
  return step(taken.guest, [
    {
      kind: "journal",
      word: {
        kind: "prepared",
        fence: handOff.fence,
        migrationId: migration.migrationId,
        sourceHostId: role.sourceHostId,
        mode: migration.mode,
        bootId: migration.bootId,
      },
    },
    ...taken.operations,
    { kind: "readRunState", purpose: "readiness" },
  ]);
}
