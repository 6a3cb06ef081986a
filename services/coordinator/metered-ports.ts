import type { RecordStore } from "../../coordinator/record/record-store.ts";
import type { FencingPort } from "../../coordinator/runner/fencing-port.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { Metrics } from "../metrics/metrics.ts";
import { meterOperations } from "../metrics/operations.ts";

/** The same store, of which it is known how long each answer took and how it failed. */
export function meteredStore(store: RecordStore, metrics: Metrics): RecordStore {
  const { of } = meterOperations(metrics, {
    label: "operation",
    took: {
      name: "switchover_coordinator_store_seconds",
      help: "Answers of the record store, by operation; what the store refused or did not answer is among them.",
    },
    failed: {
      name: "switchover_coordinator_store_failures_total",
      help: "What the store refused or did not answer, by reason; REVISION_CONFLICT: another coordinator was first.",
    },
  });
  const [get, create, update, archive, readArchived] = [
    of("get"),
    of("create"),
    of("update"),
    of("archive"),
    of("readArchived"),
  ];
  return {
    get: (guestId) => get.time(() => store.get(guestId)),
    create: (record) => create.time(() => store.create(record)),
    update: (record, expectedRevision) => update.time(() => store.update(record, expectedRevision)),
    archive: (state) => archive.time(() => store.archive(state)),
    readArchived: (migrationId) => readArchived.time(() => store.readArchived(migrationId)),
    watch: (guestId, signal) => store.watch(guestId, signal),
    watchAll: (signal, isKnown) => store.watchAll(signal, isKnown),
    keys: () => store.keys(),
  };
}

/** The same way to fence, of which it is known what came of it: DEAD, or the reason why that is not known. */
export function meteredFencing(fencing: FencingPort, metrics: Metrics): FencingPort {
  const results = metrics.tally({
    name: "switchover_coordinator_fencings_total",
    help: "Hosts that migrations had fenced, by result: DEAD, or the reason why nothing is known.",
    labels: ["result"],
  });
  const took = metrics.timing({
    name: "switchover_coordinator_fencing_seconds",
    help: "How long a migration waited for the fencing command.",
  });
  return {
    fence: async (hostId, migrationId) => {
      const beganMs = performance.now();
      try {
        await fencing.fence(hostId, migrationId);
        results.count("DEAD");
      } catch (thrown) {
        results.count(SwitchoverError.from(thrown).reason);
        throw thrown;
      } finally {
        took.at().recordSince(beganMs);
      }
    },
  };
}
