import type { Journal, JournalStore } from "../../agent/journal/journal.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { meterWork } from "../metrics/meter-work.ts";
import type { Metrics } from "../metrics/metrics.ts";

/** The same journals, of which it is known how long the kernel and the disk took, what they refused, and how large they are. */
export function meteredJournals(journals: JournalStore, metrics: Metrics): JournalStore {
  const took = metrics.timing({
    name: "switchover_agent_journal_seconds",
    help: "A word of a guest's journal, until the kernel has it (write), or until the disk has all before (sync).",
    labels: ["operation"],
  });
  const [write, sync] = [took.at("write"), took.at("sync")];
  const failed = metrics.tally({
    name: "switchover_agent_journal_failures_total",
    help: "Words that a journal did not take, or a disk did not confirm, by operation and reason.",
    labels: ["operation", "reason"],
  });
  const open = new Set<Journal>();
  metrics.gauge(
    {
      name: "switchover_agent_journal_bytes",
      help: "The journals of the guests that the agent knows, together.",
    },
    () => [{ value: [...open].reduce((sum, { bytes }) => sum + bytes, 0) }],
  );
  const metered = (journal: Journal): Journal => {
    open.add(journal);
    return {
      get entries() {
        return journal.entries;
      },
      get bytes() {
        return journal.bytes;
      },
      write: (entry) => {
        const beganMs = performance.now();
        try {
          journal.write(entry);
        } catch (thrown) {
          failed.count("write", SwitchoverError.from(thrown).reason);
          throw thrown;
        } finally {
          write.recordSince(beganMs);
        }
      },
      sync: () =>
        meterWork(
          sync,
          () => journal.sync(),
          (reason) => failed.count("sync", reason),
        ),
      close: () => {
        open.delete(journal);
        journal.close();
      },
    };
  };
  return {
    guestIds: () => journals.guestIds(),
    exists: (guestId) => journals.exists(guestId),
    open: (guestId) => metered(journals.open(guestId)),
  };
}
