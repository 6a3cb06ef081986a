import type { MigrationTraces } from "../trace/migration-traces.ts";
import type { Log } from "./log.ts";

type Fields = Parameters<Log["info"]>[0];

/** The log with `trace_id` in each line that has a `migration_id`, so that a migration's lines are found by its trace. */
export function withTraceIds(log: Log, traces: Pick<MigrationTraces, "traceOf">): Log {
  const traced = (fields: Fields): Fields => {
    const { migration_id: migrationId } = fields;
    if (typeof migrationId !== "string" || migrationId === "") return fields;
    return { ...fields, trace_id: traces.traceOf(migrationId).traceId };
  };
  return {
    debug: (fields, sentence) => log.debug(traced(fields), sentence),
    info: (fields, sentence) => log.info(traced(fields), sentence),
    warn: (fields, sentence) => log.warn(traced(fields), sentence),
    error: (fields, sentence) => log.error(traced(fields), sentence),
  };
}
