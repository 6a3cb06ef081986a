import {
  type GivenTrace,
  type MigrationTrace,
  parseTraceparent,
  traceOfMigration,
} from "../../proto/trace-context.ts";

/** Of those heard of last: more than a coordinator drives. Of one that is forgotten the trace is that of its id. */
const KEPT = 16_384;

interface Known {
  readonly trace: MigrationTrace;
  readonly given: GivenTrace | undefined;
}

/** Which trace each migration is in, as far as this program was told; of all others it is the one that the id says. */
export class MigrationTraces {
  readonly #known = new Map<string, Known>();

  /** Takes what a caller or a record says of it. The first trace that its id does not say stands; a malformed word is none. */
  note(migrationId: string, trace: GivenTrace): void {
    const given = parseTraceparent(trace.traceparent);
    if (given === null) return;
    const known = this.#known.get(migrationId) ?? this.#keep(migrationId, undefined);
    if (known.given !== undefined || known.trace.traceId === given.traceId) return;
    this.#keep(migrationId, trace);
  }

  /** What was noted; undefined where that is no more than the migration's id says. */
  givenFor(migrationId: string): GivenTrace | undefined {
    return this.#known.get(migrationId)?.given;
  }

  traceOf(migrationId: string): MigrationTrace {
    return (this.#known.get(migrationId) ?? this.#keep(migrationId, undefined)).trace;
  }

  #keep(migrationId: string, given: GivenTrace | undefined): Known {
    const known = { trace: traceOfMigration(migrationId, given), given };
    this.#known.delete(migrationId);
    this.#known.set(migrationId, known);
    const [oldest] = this.#known.keys();
    if (this.#known.size > KEPT && oldest !== undefined) this.#known.delete(oldest);
    return known;
  }
}
