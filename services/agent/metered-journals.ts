import type { Journal, JournalStore } from "../../agent/journal/journal.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { Metrics } from "../metrics/metrics.ts";
import { meterOperations } from "../metrics/operations.ts";

/** The same journals, of which it is known how long the kernel and the disk took, what they refused, and how large they are. */
export function meteredJournals(journals: JournalStore, metrics: Metrics): JournalStore {
  const { of } = meterOperations(metrics, {
    label: "operation",
    took: {
      name: "switchover_agent_journal_seconds",
      help: "A word of a guest's journal, until the kernel has it (write), or until the disk has all before (sync).",
    },
    failed: {
      name: "switchover_agent_journal_failures_total",
      help: "Words that a journal did not take, or a disk did not confirm, by operation and reason.",
    },
  });
  const [write, sync] = [of("write"), of("sync")];
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
          write.failed(SwitchoverError.from(thrown).reason);
          throw thrown;
        } finally {
          write.timing.recordSince(beganMs);
        }
      },
      sync: () => sync.time(() => journal.sync()),
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
