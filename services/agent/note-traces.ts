import type { GivenTrace } from "../../proto/trace-context.ts";
import type { ServiceBinding } from "../grpc/server.ts";
import { callerTraceIn } from "../grpc/trace-metadata.ts";
import type { MigrationTraces } from "../trace/migration-traces.ts";

type Handler = ServiceBinding["implementation"][string];
/** What unary and streaming calls alike have when they come in. */
type Incoming = Parameters<Extract<Handler, (call: never, callback: never) => void>>[0] & {
  readonly request: unknown;
};

/** The service, which notes of each call that names a migration in which trace its caller says that to be. */
export function notingTraces(binding: ServiceBinding, traces: Pick<MigrationTraces, "note">): ServiceBinding {
  const noting = ([name, handler]: readonly [string, Handler]): readonly [string, Handler] => {
    const noted = (call: Incoming, callback: never): void => {
      const trace = callerTraceIn(call.metadata);
      if (trace !== undefined) note(call.request, trace);
      (handler as (call: Incoming, callback: never) => void)(call, callback);
    };
    return [name, noted as Handler];
  };
  const note = (request: unknown, trace: GivenTrace): void => {
    const { migrationId } = request as { readonly migrationId?: string };
    if (migrationId !== undefined && migrationId !== "") traces.note(migrationId, trace);
  };
  return {
    ...binding,
    implementation: Object.fromEntries(Object.entries(binding.implementation).map(noting)),
  };
}
