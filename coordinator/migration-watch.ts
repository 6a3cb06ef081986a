import { SwitchoverError } from "../proto/error.ts";
import { type Migration, Phase } from "../proto/gen/switchover/v1/migration.ts";
import type { GuestId, MigrationId } from "../proto/ids.ts";
import type { AdmissionPort } from "./admission/admission-port.ts";
import { withQueuePlace } from "./admission/queue-place.ts";
import { LatestValue } from "./latest-value.ts";
import { isTerminal } from "./migration/phase-edges.ts";
import type { RecordStore } from "./record/record-store.ts";
import type { MigrationRunner } from "./runner/migration-runner.ts";

interface WatchPorts {
  readonly store: RecordStore;
  readonly runner: MigrationRunner;
  readonly admission: AdmissionPort;
}

/**
 * The states of one migration after a revision, by the runner where it is driven here, and by the store wherever it is;
 * in any case its end.
 */
export async function* watchMigration(
  ports: WatchPorts,
  guestId: GuestId,
  migrationId: MigrationId,
  find: () => Promise<Migration>,
  afterRevision: bigint,
  signal: AbortSignal,
): AsyncGenerator<Migration, void, undefined> {
  const states = new NewerStates(afterRevision, ports.admission);
  const ended = new AbortController();
  const end = () => {
    ended.abort("closed");
    states.end();
  };
  signal.addEventListener("abort", end);
  const stopObserving = ports.runner.observe(migrationId, (migration) => states.offer(migration));
  const stopAwaiting = ports.admission.observe(guestId, () => states.offerAgain());
  try {
    states.offer(await find());
    if (signal.aborted) return;
    void watchStore(ports, guestId, migrationId, find, states, ended.signal);
    for await (const migration of states) {
      yield migration;
      if (isTerminal(migration.phase)) return;
    }
  } finally {
    stopObserving();
    stopAwaiting();
    signal.removeEventListener("abort", end);
    ended.abort("closed");
  }
}

/** Brings what other coordinators commit. */
async function watchStore(
  { store, runner }: WatchPorts,
  guestId: GuestId,
  migrationId: MigrationId,
  find: () => Promise<Migration>,
  states: NewerStates,
  signal: AbortSignal,
): Promise<void> {
  try {
    for await (const { record } of store.watch(guestId, signal)) {
      const held = record.migration?.migration;
      if (held?.migrationId === migrationId) {
        // Progress that is driven here is newer than the record.
        states.offer(runner.current(guestId, migrationId) ?? held);
        continue;
      }
      // The guest's next migration has the record: this one has ended, and is in the history.
      states.offer(await find());
    }
    states.end();
  } catch (thrown) {
    if (signal.aborted) states.end();
    else states.fail(SwitchoverError.from(thrown));
  }
}

/**
 * Two ways bring the states of one migration: what is older than what came before is left out, and so is what the reader
 * has, unless it is the end. Of the revision that the reader has, progress that is not committed is left out too.
 */
class NewerStates extends LatestValue<Migration> {
  readonly #afterRevision: bigint;
  readonly #admission: AdmissionPort;
  #newest: Migration | null = null;

  constructor(afterRevision: bigint, admission: AdmissionPort) {
    super();
    this.#afterRevision = afterRevision;
    this.#admission = admission;
  }

  override offer(migration: Migration): void {
    const isKnown = (migration.fence?.revision ?? 0n) <= this.#afterRevision;
    if (this.#afterRevision > 0n && isKnown && !isTerminal(migration.phase)) {
      this.#newest ??= migration;
      return;
    }
    if (this.#newest !== null && !isNewer(migration, this.#newest)) return;
    this.#newest = migration;
    super.offer(withQueuePlace(migration, this.#admission));
  }

  /** Its place in line is another by now. */
  offerAgain(): void {
    if (this.#newest?.phase === Phase.PENDING) super.offer(withQueuePlace(this.#newest, this.#admission));
  }
}

function isNewer(migration: Migration, than: Migration): boolean {
  const revision = migration.fence?.revision ?? 0n;
  const known = than.fence?.revision ?? 0n;
  if (revision !== known) return revision > known;
  return (migration.progress?.transferredBytes ?? 0n) > (than.progress?.transferredBytes ?? 0n);
}
