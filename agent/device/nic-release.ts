/**
 * Releasing all NICs of one guest, after the time that counts.
 *
 * What becomes of a macvtap's parent may depend on whatever else stands on it, which only a whole table tells. So that no
 * switchover waits for that, the device goes at once and its parent is seen to once the table was read elsewhere. What
 * this agent prepares meanwhile is not harmed: it reads the same tables first, by the same reader, which reads one after
 * another.
 */
import { SwitchoverError } from "../../proto/error.ts";
import type { Link, LinkFilter } from "../netlink/link.ts";
import type { RoutePort } from "../netlink/route-port.ts";
import type { TableReader } from "../netlink/table-reader.ts";
import type { DeviceOwnership, NicProblem, SeenLinks } from "./device.ts";
import { deviceTypeOf } from "./device-types.ts";
import { linksOf, withStacked } from "./host-survey.ts";
import type { NicDefinition } from "./nic-definition.ts";
import type { HostDevices } from "./nic-preparation.ts";
import { executeEach, readLinks } from "./nic-requests.ts";

export interface ReleaseReport {
  readonly nicId: string;
  readonly problem?: NicProblem;
}

export interface ReleaseAside {
  /** What became of the devices. */
  readonly reports: readonly ReleaseReport[];
  /** What becomes of parents that could not be judged at once, by NIC; absent where there are none. Never rejects. */
  readonly parents?: Promise<readonly ReleaseReport[]>;
}

/** What releasing is about. */
interface Release {
  readonly nics: readonly NicDefinition[];
  readonly ownerships: ReadonlyMap<string, DeviceOwnership>;
  readonly device: "delete" | "keep";
}

/**
 * Ends the quarantine of each NIC, and deletes the devices that Switchover created if `device` says so.
 * All are tried; a device that is gone already counts as released. All of it at once, tables too. Throws as
 * `RoutePort.execute` and `dump` do.
 */
export function releaseNics(
  route: RoutePort,
  nics: readonly NicDefinition[],
  ownerships: ReadonlyMap<string, DeviceOwnership>,
  device: "delete" | "keep",
): ReleaseReport[] {
  const release = { nics, ownerships, device };
  const named = readLinks(route, nics);
  const around = nics.flatMap((nic) => {
    const filter = surveyOf(nic, named, release);
    return filter === undefined ? [] : linksOf(route.dump({ op: "dumpLinks", ...filter }));
  });
  return carryOut(route, release, withStacked(nics, named, around));
}

/**
 * The same, with tables read in another thread where there is a reader. `around` is what was read of them already: then it
 * is done at once. Throws as `RoutePort.execute` does.
 */
export function releaseNicsAside(
  { route, tables }: HostDevices,
  nics: readonly NicDefinition[],
  ownerships: ReadonlyMap<string, DeviceOwnership>,
  around?: readonly Link[],
): ReleaseAside {
  if (tables === undefined) return { reports: releaseNics(route, nics, ownerships, "delete") };
  const release: Release = { nics, ownerships, device: "delete" };
  const named = readLinks(route, nics);
  if (around !== undefined) return { reports: carryOut(route, release, withStacked(nics, named, around)) };
  const waiting = nics.filter((nic) => surveyOf(nic, named, release) !== undefined);
  const reports = carryOut(route, release, named, waiting);
  if (waiting.length === 0) return { reports };
  // By then a device of the name is another one.
  const later: Release = { nics: waiting, ownerships, device: "keep" };
  return { reports, parents: releaseParents(route, tables, later) };
}

async function releaseParents(
  route: RoutePort,
  tables: TableReader,
  release: Release,
): Promise<readonly ReleaseReport[]> {
  const { nics } = release;
  try {
    const around: Link[] = [];
    for (const nic of nics) {
      const filter = surveyOf(nic, readLinks(route, nics), release);
      if (filter !== undefined) around.push(...linksOf(await tables.read({ op: "dumpLinks", ...filter })));
    }
    const named = readLinks(route, nics);
    const still = nics.filter((nic) => surveyOf(nic, named, release) !== undefined);
    return carryOut(route, { ...release, nics: still }, withStacked(nics, named, around));
  } catch (thrown) {
    const { reason, message } = SwitchoverError.from(thrown);
    return nics.map(({ nicId }) => ({ nicId, problem: { reason, sentence: message } }));
  }
}

/** `waiting` are those of whose parents nothing is known yet. */
function carryOut(
  route: RoutePort,
  release: Release,
  links: SeenLinks,
  waiting: readonly NicDefinition[] = [],
): ReleaseReport[] {
  const { nics, device } = release;
  const plans = nics.map((nic) =>
    deviceTypeOf(nic).release.plan(
      nic,
      links,
      ownershipOf(nic, release),
      device,
      waiting.includes(nic) ? "unknown" : "known",
    ),
  );
  const results = executeEach(route, plans);
  return nics.map((nic, index) => {
    const plan = plans[index] ?? [];
    if (plan.length === 0) return { nicId: nic.nicId };
    const problem = deviceTypeOf(nic).release.judge(nic, links, plan, results[index] ?? []);
    return { nicId: nic.nicId, ...(problem === undefined ? {} : { problem }) };
  });
}

function surveyOf(nic: NicDefinition, links: SeenLinks, release: Release): LinkFilter | undefined {
  return deviceTypeOf(nic).release.survey?.(nic, links, ownershipOf(nic, release), release.device);
}

function ownershipOf({ nicId }: NicDefinition, { ownerships }: Release): DeviceOwnership {
  return ownerships.get(nicId) ?? { device: "existing", port: "existing" };
}
