import { SwitchoverError } from "../../proto/error.ts";
import type { Metrics } from "./metrics.ts";
import type { Timing } from "./timing.ts";

/** Two metrics: how long each operation took, whatever came of it, and how often it failed, by reason. */
export interface OperationsWords {
  /** The label that names the operation. */
  readonly label: string;
  readonly took: { readonly name: string; readonly help: string };
  readonly failed: { readonly name: string; readonly help: string };
}

/** One operation's, whose name is a label of both. */
export interface MeteredOperation {
  readonly timing: Timing;
  failed(reason: string): void;
  /** Times the work, whatever comes of it, and counts its failure by the reason; its error goes on as it is. */
  time<T>(work: () => Promise<T>): Promise<T>;
}

export interface MeteredOperations {
  /** Looked up once; its timing is shown from then on, at zero until something is timed. */
  of(operation: string): MeteredOperation;
  /** Of one that may never have been begun, and is then shown without a time. */
  failed(operation: string, reason: string): void;
}

export function meterOperations(
  metrics: Metrics,
  { label, took, failed }: OperationsWords,
): MeteredOperations {
  const timings = metrics.timing({ ...took, labels: [label] });
  const failures = metrics.tally({ ...failed, labels: [label, "reason"] });
  const known = new Map<string, MeteredOperation>();
  const meter = (operation: string): MeteredOperation => {
    const timing = timings.at(operation);
    const fail = (reason: string) => failures.count(operation, reason);
    const time = <T>(work: () => Promise<T>): Promise<T> =>
      timing.time(() =>
        work().catch((thrown: unknown) => {
          fail(SwitchoverError.from(thrown).reason);
          throw thrown;
        }),
      );
    return { timing, failed: fail, time };
  };
  return {
    of: (operation) => {
      const metered = known.get(operation) ?? meter(operation);
      known.set(operation, metered);
      return metered;
    },
    failed: (operation, reason) => failures.count(operation, reason),
  };
}
