import { evolve } from "../../../agent/guest/evolve.ts";
import type { Guest } from "../../../agent/guest/guest.ts";
import type { GuestEvent } from "../../../agent/guest/guest-event.ts";
import type { GuestOperation } from "../../../agent/guest/guest-operation.ts";
import { type Step, step, told } from "../../../agent/guest/step.ts";
import { HandOffRoute } from "../../../proto/gen/switchover/v1/feed.ts";
import type { HandOff } from "../../../proto/gen/switchover/v1/guest.ts";

/** A rule of the gate as somebody might get it wrong. */
export type BrokenRule = typeof evolve;

/** The destination starts as soon as its guest is loaded, whatever the source has said. */
export const startWithoutWord: BrokenRule = (guest, event) => {
  const next = evolve(guest, event);
  const { role, migration } = next.guest;
  if (role.kind !== "incoming" || role.ready === null || role.handOff !== null || migration === null)
    return next;
  const handOff: HandOff = {
    migrationId: migration.migrationId,
    guestId: guest.guestId,
    sourceHostId: role.sourceHostId,
    sourceInstanceId: "",
    destinationHostId: guest.hostId,
    fence: guest.fence,
    runState: "running",
    stoppedAtUnixUs: 0n,
    deregisteredAtUnixUs: 0n,
    journaledAtUnixUs: 0n,
    nics: undefined,
  };
  const { atUnixUs } = event;
  return after(next, { kind: "handOffReceived", atUnixUs, handOff, route: HandOffRoute.NATS });
};

/** Any word for the guest counts, also one of an earlier attempt. */
export const takeAnyWord: BrokenRule = (guest, event) => {
  const { role, migration } = guest;
  if (event.kind !== "handOffReceived" || role.kind !== "incoming" || migration === null)
    return evolve(guest, event);
  const handOff: HandOff = {
    ...event.handOff,
    migrationId: migration.migrationId,
    sourceHostId: role.sourceHostId,
    destinationHostId: guest.hostId,
    fence: guest.fence,
  };
  return evolve(guest, { ...event, handOff });
};

/** A VMM that still loads counts as ready. */
export const startUnready: BrokenRule = (guest, event) => {
  const { role } = guest;
  if (event.kind === "handOffReceived" && role.kind === "incoming" && !role.loaded) {
    const { atUnixUs } = event;
    const ready: Guest = {
      ...guest,
      role: { ...role, loaded: true, ready: { runState: "paused", atUnixUs } },
    };
    return evolve(ready, event);
  }
  return evolve(guest, event);
};

/** The word leaves before it is written. */
export const publishBeforeJournal: BrokenRule = (guest, event) => {
  const next = evolve(guest, event);
  const isWord = (operation: GuestOperation) =>
    operation.kind === "journal" && operation.word.kind === "handedOff";
  if (!next.operations.some(isWord)) return next;
  return step(next.guest, [
    ...next.operations.filter((operation) => !isWord(operation)),
    ...next.operations.filter(isWord),
  ]);
};

/** A destination whose VMM dies says that it never started the guest, also where it had. */
export const handBackWhatRan: BrokenRule = (guest, event) => {
  const next = evolve(guest, event);
  const { role, migration } = guest;
  const had = role.kind === "resident" && migration?.side === "destination";
  if (event.kind !== "vmmLost" || !had) return next;
  const { sentence } = event;
  return step(next.guest, [
    ...next.operations,
    { kind: "journal", word: { kind: "handedBack", fence: guest.fence, sentence } },
    told({ $case: "handedBack", value: { sentence } }),
  ]);
};

/** A guest goes into the word as running, whatever its owner had it do. */
export const startPausedGuests: BrokenRule = (guest, event) =>
  evolve(
    guest,
    event.kind === "handOffReceived"
      ? { ...event, handOff: { ...event.handOff, runState: "running" } }
      : event,
  );

/** CPUs that run without the right to are reported, and go on. */
export const watchOnly: BrokenRule = (guest, event) => {
  const next = evolve(guest, event);
  const isGuarded = guest.role.kind === "relinquished" || guest.role.kind === "fenced";
  if (!isGuarded) return next;
  return step(
    next.guest,
    next.operations.filter(({ kind }) => kind !== "sendStop"),
  );
};

/** The stop that QEMU itself does at switchover is missed, as libvirt does. */
export const keepEntriesAtSource: BrokenRule = (guest, event) => {
  const next = evolve(guest, event);
  if (event.kind !== "cpusStopped" || guest.role.kind !== "outgoing") return next;
  const kept = next.operations.filter(({ kind }) => kind !== "deregisterNics");
  return after(step(next.guest, kept), { kind: "nicsDeregistered", atUnixUs: event.atUnixUs });
};

/** One event more, as if it had come at once. */
function after(first: Step, event: GuestEvent): Step {
  const second = evolve(first.guest, event);
  return step(second.guest, [...first.operations, ...second.operations]);
}
