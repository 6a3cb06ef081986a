import { encodeBatch, type RouteBatch } from "../netlink/route-batch.ts";
import type { RouteResult } from "../netlink/route-port.ts";
import type { RouteRequest } from "../netlink/route-request.ts";
import type { DeviceOperation, PlacedNic, StopOutcome } from "./device.ts";
import { deviceTypeOf } from "./device-types.ts";
import type { NicDefinition } from "./nic-definition.ts";

/** `deregister` is as much of a stop as keeps nobody waiting. */
export type NicOperation = "start" | "stop" | "deregister";

/** One operation of all NICs. */
export interface PlannedOperation {
  readonly operation: NicOperation;
  readonly plans: readonly (readonly RouteRequest[])[];
  readonly batch: RouteBatch;
}

export function planOperation(
  operation: NicOperation,
  placed: readonly PlacedNic<NicDefinition>[],
): PlannedOperation {
  const plans = placed.map(({ nic, place }) =>
    (operation === "start" ? deviceTypeOf(nic).start : stopOf(nic, operation)).plan(nic, place),
  );
  return { operation, plans, batch: encodeBatch(plans.flat()) };
}

/** What became of one NIC's stop, or of that part of it. */
export function judgeStop(
  operation: NicOperation,
  { nic, place }: PlacedNic<NicDefinition>,
  results: readonly RouteResult[],
): StopOutcome {
  return stopOf(nic, operation).judge(nic, place, results);
}

function stopOf(nic: NicDefinition, operation: NicOperation): DeviceOperation<NicDefinition, StopOutcome> {
  const { deregister, stop } = deviceTypeOf(nic);
  return operation === "deregister" ? (deregister ?? stop) : stop;
}

/** An entry is gone in microseconds, and must not wait for what has the kernel wait. */
export function slowestLast(
  placed: readonly PlacedNic<NicDefinition>[],
): readonly PlacedNic<NicDefinition>[] {
  const isSlow = ({ nic }: PlacedNic<NicDefinition>): boolean =>
    deviceTypeOf(nic).deregister?.takes(nic) === "gracePeriods";
  return [...placed.filter((at) => !isSlow(at)), ...placed.filter(isSlow)];
}

/** What `deregister` leaves of the stop, of all NICs; undefined where that is nothing. */
export function restOfStop(placed: readonly PlacedNic<NicDefinition>[]): RouteBatch | undefined {
  const requests = placed.flatMap(({ nic, place }) => deviceTypeOf(nic).deregister?.rest(nic, place) ?? []);
  return requests.length === 0 ? undefined : encodeBatch(requests);
}
