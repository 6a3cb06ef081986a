import { compareFences, type Fence } from "../../proto/epoch.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { GuestId, InstanceId } from "../../proto/ids.ts";
import { staleFence } from "../guest/admit-fence.ts";
import type { Host } from "../host.ts";
import { fenceOf, newestFenceIn } from "../journal/journal.ts";
import type { JournalEntry } from "../journal/journal-entry.ts";
import { hasSaid } from "../journal/said-under.ts";

/**
 * Journals that an instance that is gone never starts its guest under the epoch, and returns once that is on disk;
 * `started` where it did, or may have. Nothing can start it any more, but only a host that remembers it may say so:
 * throws NOT_FOUND / INSTANCE_UNKNOWN where the journal never knew it (lost, or another host's), and ABORTED /
 * STALE_FENCE. Idempotent.
 */
export async function giveUpGoneInstance(
  host: Host,
  guestId: GuestId,
  instanceId: InstanceId,
  fence: Fence,
): Promise<"never starts" | "started"> {
  const journal = host.knownJournalOf(guestId);
  const all = journal?.entries ?? [];
  const newest = newestFenceIn(all);
  if (compareFences(fence, newest) < 0) throw staleFence(guestId, fence, newest);
  const own = all.filter((entry) => entry.instanceId === instanceId);
  if (journal === undefined || !own.some(({ word }) => word.kind === "nicsPrepared")) {
    throw new SwitchoverError(
      "NOT_FOUND",
      `This host does not know instance ${instanceId} of guest ${guestId}.`,
      {
        reason: "INSTANCE_UNKNOWN",
        field: "instance_id",
      },
    );
  }
  if (!hasSaid(own, instanceId, fence.epoch, "handedBack")) {
    const said = own.filter(({ word }) => fenceOf(word).epoch === fence.epoch);
    if (said.some((entry) => mayHaveStarted(entry, host.ports.bootId))) return "started";
    const sentence = "The instance is gone.";
    const word = { kind: "handedBack", fence, sentence } as const;
    journal.write({ atUnixUs: host.ports.clock.unixUs(), instanceId, word });
  }
  await journal.sync();
  return "never starts";
}

/** A host that died after the preparation may have lost the line that says that it did. */
function mayHaveStarted({ word }: JournalEntry, bootId: string): boolean {
  return (
    word.kind === "contSent" ||
    word.kind === "takenOverPaused" ||
    (word.kind === "prepared" && word.bootId !== bootId)
  );
}
