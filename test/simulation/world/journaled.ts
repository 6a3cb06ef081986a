import type { JournalWord } from "../../../agent/journal/journal-entry.ts";
import { GUEST_ID } from "./names.ts";
import type { SimulatedInstance } from "./world.ts";

/** Whether the instance's journal has such a word; of what a lost state directory took, it has none. */
export function hasSaid({ host, instanceId }: SimulatedInstance, kind: JournalWord["kind"]): boolean {
  return host.disk
    .read(GUEST_ID)
    .some((entry) => entry.instanceId === instanceId && entry.word.kind === kind);
}

/** Whether its journal's last word of a hand-off is that it gave its guest away, not that it took it back. */
export function hasGivenAway({ host, instanceId }: SimulatedInstance): boolean {
  const last = host.disk
    .read(GUEST_ID)
    .findLast(
      ({ instanceId: of, word }) =>
        of === instanceId && (word.kind === "handedOff" || word.kind === "retaken"),
    );
  return last?.word.kind === "handedOff";
}
