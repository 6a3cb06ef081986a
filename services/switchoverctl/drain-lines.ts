import {
  type Drain,
  type DrainedGuest,
  DrainedGuestState,
  DrainPhase,
} from "../../proto/gen/switchover/v1/drain.ts";
import { wordOf } from "../wording/words.ts";

/** A drain for a person: its sum first, then one line a guest. Pure. */
export function drainLines(drain: Drain): readonly string[] {
  return [sumOf(drain), ...drain.guests.map(guestLine)];
}

function sumOf({ spec, phase, guests, reason, drainId }: Drain): string {
  const count = (state: DrainedGuestState) => guests.filter((guest) => guest.state === state).length;
  const counts = Object.values(DrainedGuestState)
    .map((state) => [count(state), wordOf(DrainedGuestState, state)] as const)
    .filter(([number]) => number > 0)
    .map(([number, word]) => `${number} ${word}`);
  const sum = counts.length === 0 ? "no guests" : counts.join(", ");
  const because = reason === "" ? "" : `: ${reason}`;
  return `${spec?.hostId ?? ""} is ${wordOf(DrainPhase, phase)}, ${sum}${because}  (${drainId})`;
}

function guestLine({ guestId, state, destinationHostId, migrationId, reason }: DrainedGuest): string {
  const where = destinationHostId === "" ? "" : ` to ${destinationHostId}`;
  const by = migrationId === "" ? "" : ` by ${migrationId}`;
  const because = reason === "" ? "" : `: ${reason}`;
  return `  ${guestId} ${wordOf(DrainedGuestState, state)}${where}${by}${because}`;
}
