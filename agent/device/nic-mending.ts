/**
 * What others did to the NICs of one instance: seen, and put right again, each NIC for itself. A guest that has lost one
 * of its NICs keeps the others.
 */
import { encodeBatch } from "../netlink/route-batch.ts";
import type { RoutePort } from "../netlink/route-port.ts";
import type { DeviceOwnership, NicProblem, Registered, VerifyOutcome } from "./device.ts";
import { deviceTypeOf } from "./device-types.ts";
import { findNics, type KnownDevices, placedOf } from "./find-nics.ts";
import type { NicDefinition } from "./nic-definition.ts";
import { readLinks } from "./nic-requests.ts";
import { verifyNics } from "./nic-set.ts";

export interface NicDrift {
  readonly nicId: string;
  /** `missing`: the device or its bridge is not there, and nothing can be done before it is. */
  readonly extent: "drifted" | "missing";
  readonly problem: NicProblem;
}

/** How the NICs differ from what `registered` says; changes nothing. Throws as `RoutePort.execute` does. */
export function findDrift(
  route: RoutePort,
  nics: readonly NicDefinition[],
  registered: Registered,
  known: KnownDevices = new Map(),
): readonly NicDrift[] {
  return driftsOf(nics, verifyNics(route, nics, known), registered);
}

/** All of it in words: the same as long as the same differs. */
export function sentenceOfDrifts(drifts: readonly NicDrift[]): string {
  return drifts.map(({ nicId, problem }) => `${nicId}: ${problem.sentence}`).join(" ");
}

/**
 * Makes the NICs as `registered` says again, and returns what still differs after. What is as it should be is not
 * touched; a device that strayed from its definition is stopped where it is, and never started. Idempotent. Throws as
 * `RoutePort.execute` does: what was done is then unknown.
 */
export function mendNics(
  route: RoutePort,
  nics: readonly NicDefinition[],
  ownerships: ReadonlyMap<string, DeviceOwnership>,
  registered: Registered,
  known: KnownDevices = new Map(),
): readonly NicDrift[] {
  const outcomes = verifyNics(route, nics, known);
  const drifted = new Set(driftsOf(nics, outcomes, registered).map(({ nicId }) => nicId));
  if (drifted.size === 0) return [];
  const toMend = nics.filter(({ nicId }) => drifted.has(nicId));
  const before = readLinks(route, toMend);
  const ownershipOf = ({ nicId }: NicDefinition): DeviceOwnership =>
    ownerships.get(nicId) ?? { device: "existing", port: "existing" };
  route.execute(
    encodeBatch(
      toMend.flatMap((nic) => deviceTypeOf(nic).mend.plan(nic, before, ownershipOf(nic), registered)),
    ),
  );
  const operation = registered === "registered" ? "start" : "stop";
  route.execute(
    encodeBatch(
      findNics(route, toMend, known).flatMap((found) => {
        const at = operation === "start" && found.located.found === "no" ? undefined : placedOf(found);
        return at === undefined ? [] : deviceTypeOf(at.nic)[operation].plan(at.nic, at.place);
      }),
    ),
  );
  return findDrift(route, toMend, registered, known);
}

function driftsOf(
  nics: readonly NicDefinition[],
  outcomes: readonly VerifyOutcome[],
  registered: Registered,
): readonly NicDrift[] {
  return nics.flatMap((nic, index) => {
    const outcome = outcomes[index];
    const drift = outcome === undefined ? undefined : driftOf(nic, outcome, registered);
    return drift === undefined ? [] : [{ nicId: nic.nicId, ...drift }];
  });
}

function driftOf(
  nic: NicDefinition,
  outcome: VerifyOutcome,
  registered: Registered,
): Omit<NicDrift, "nicId"> | undefined {
  switch (outcome.registration) {
    case registered:
    case "unmanaged":
      return undefined;
    case "absent":
      if (registered === "registered") return { extent: "missing", problem: outcome.problem };
      // Where no device is, nothing is registered; one that strayed may be.
      return outcome.left === undefined ? undefined : { extent: "drifted", problem: outcome.left };
    case "drifted": {
      const problems = registered === "registered" ? outcome.problems : outcome.quarantineProblems;
      const [problem = unlike(nic, registered)] = problems;
      return { extent: "drifted", problem };
    }
    default:
      return { extent: "drifted", problem: unlike(nic, registered) };
  }
}

function unlike(nic: NicDefinition, registered: Registered): NicProblem {
  return registered === "registered"
    ? { reason: "QUARANTINED", sentence: `${nic.nicId} is quarantined while its guest runs.` }
    : { reason: "REGISTERED", sentence: `${nic.nicId} is registered while its guest stands.` };
}
