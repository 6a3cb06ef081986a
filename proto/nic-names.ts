import type { NicName } from "./gen/switchover/v1/guest.ts";

/** Where two hosts' NICs of one guest differ; both empty where they agree. */
export interface NicDifference {
  readonly onlyHere: readonly NicName[];
  readonly onlyThere: readonly NicName[];
}

/** The same NIC has the same id and the same address; the order says nothing. */
export function compareNics(here: readonly NicName[], there: readonly NicName[]): NicDifference {
  return { onlyHere: withoutThose(here, there), onlyThere: withoutThose(there, here) };
}

/** `net0 (52:54:00:00:00:01), net1 (52:54:00:00:00:02)`. */
export function nicNamesText(nics: readonly NicName[]): string {
  return nics.map(({ nicId, macAddress }) => `${nicId} (${macAddress})`).join(", ");
}

function withoutThose(nics: readonly NicName[], others: readonly NicName[]): readonly NicName[] {
  return nics.filter(
    ({ nicId, macAddress }) =>
      !others.some((other) => other.nicId === nicId && other.macAddress === macAddress),
  );
}
