/**
 * Preparing all NICs of one guest, before the time that counts.
 */
import { SwitchoverError } from "../../proto/error.ts";
import { encodeBatch } from "../netlink/route-batch.ts";
import type { RoutePort } from "../netlink/route-port.ts";
import type { TableReader } from "../netlink/table-reader.ts";
import { checkNicDefinitions, type NicPath, nicPathInList } from "./check-nics.ts";
import type { DeviceCreation, DeviceOwnership, Occasion, SeenLinks } from "./device.ts";
import { deviceTypeOf } from "./device-types.ts";
import { type HostSurvey, surveyHost, withStacked } from "./host-survey.ts";
import type { NicDefinition } from "./nic-definition.ts";
import { executeEach, readLinks } from "./nic-requests.ts";
import { kernelWords } from "./route-answers.ts";
import type { DeviceFactory } from "./tap-creation.ts";

/** What preparing touches. */
export interface HostDevices {
  readonly route: RoutePort;
  readonly factory: DeviceFactory;
  /** Reads whole tables of the kernel beside what counts; where it is absent they are read at once. */
  readonly tables?: TableReader;
  /** How often the stop of devices is rehearsed once they are prepared; where it is absent, until their code is compiled. */
  readonly rehearsals?: number;
}

export interface PreparedNic {
  readonly nicId: string;
  /** Empty, and `ifindex` 0, where no device of the host's serves the NIC. */
  readonly deviceName: string;
  readonly ifindex: number;
  readonly ownership: DeviceOwnership;
  /** The file by which a VMM opens the device; absent where it is opened by name. */
  readonly characterDevice?: string;
}

/** Why a NIC cannot be prepared or moved here; `field` is the full path, `nics[0].tap_on_bridge.bridge`. */
export interface NicRefusal {
  readonly nicId: string;
  readonly reason: string;
  readonly sentence: string;
  readonly field: string;
}

/** What is known ahead of a preparation. */
export interface KnownBefore {
  /** What was read of the host; missing, it is read at once. */
  readonly survey?: HostSurvey;
  /**
   * By NIC, what was prepared for an instance whose place it takes: how the host was found then is how it is left at the
   * end.
   */
  readonly former?: ReadonlyMap<string, PreparedNic>;
}

/** All reasons why the NICs cannot be prepared here; changes nothing. Throws INVALID_ARGUMENT for bad definitions. */
export function preflightNics(
  route: RoutePort,
  nics: readonly NicDefinition[],
  pathOf: NicPath = nicPathInList,
  { survey }: KnownBefore = {},
  occasion: Occasion = "prepare",
): NicRefusal[] {
  checkNicDefinitions(nics, pathOf);
  const host = survey ?? surveyHost({ route }, nics);
  return refusalsOf(nics, withStacked(nics, readLinks(route, nics), host.stacked), host, pathOf, occasion);
}

/** Throws FAILED_PRECONDITION for the first of these reasons, and as `preflightNics` does; changes nothing. */
export function requirePreparable(
  route: RoutePort,
  nics: readonly NicDefinition[],
  pathOf: NicPath = nicPathInList,
  known: KnownBefore = {},
): void {
  throwFirst(preflightNics(route, nics, pathOf, known));
}

function throwFirst([refusal]: readonly NicRefusal[]): void {
  if (refusal === undefined) return;
  const { reason, sentence, field } = refusal;
  throw new SwitchoverError("FAILED_PRECONDITION", sentence, { reason, field });
}

/**
 * Quarantines the devices of all NICs, creating those that are missing; on any failure everything that it made
 * is undone. Idempotent; running it for a guest whose CPUs run would cut the guest off.
 *
 * Throws INVALID_ARGUMENT for bad definitions and FAILED_PRECONDITION for refusals, nothing changed; ABORTED
 * where the kernel refused half way, what was made undone.
 */
export function prepareNics(
  host: HostDevices,
  nics: readonly NicDefinition[],
  pathOf: NicPath = nicPathInList,
  known: KnownBefore = {},
): PreparedNic[] {
  checkNicDefinitions(nics, pathOf);
  const survey = known.survey ?? surveyHost(host, nics);
  const { stacked } = survey;
  const before = withStacked(nics, readLinks(host.route, nics), stacked);
  throwFirst(refusalsOf(nics, before, survey, pathOf, "prepare"));
  try {
    nics.forEach((nic, index) => {
      const { field, prepare } = deviceTypeOf(nic);
      const creation = prepare.creation(nic, before);
      if (creation !== undefined) create(host, creation, fieldOf(pathOf(index), field));
    });
    const after = withStacked(nics, readLinks(host.route, nics), stacked);
    quarantine(host.route, nics, before, after, pathOf);
    return nics.map((nic) => {
      const type = deviceTypeOf(nic);
      const deviceName = type.deviceName(nic) ?? "";
      const ifindex = after.get(deviceName)?.ifindex ?? 0;
      const characterDevice = type.characterDevice?.(ifindex);
      return {
        nicId: nic.nicId,
        deviceName,
        ifindex,
        ownership: ownershipOf(nic, before, known.former?.get(nic.nicId)),
        ...(characterDevice === undefined ? {} : { characterDevice }),
      };
    });
  } catch (thrown) {
    undoPreparation(host.route, nics, before, stacked);
    throw SwitchoverError.from(thrown);
  }
}

function ownershipOf(
  nic: NicDefinition,
  before: SeenLinks,
  former: PreparedNic | undefined,
): DeviceOwnership {
  const found = deviceTypeOf(nic).prepare.ownership(nic, before);
  if (former === undefined) return found;
  if (before.get(former.deviceName)?.ifindex === former.ifindex) return former.ownership;
  // Its device is gone, and has left its parent as the former instance last made it.
  const { parent } = former.ownership;
  return found.parent === undefined || parent === undefined ? found : { ...found, parent };
}

function refusalsOf(
  nics: readonly NicDefinition[],
  links: SeenLinks,
  { answers, inherited }: HostSurvey,
  pathOf: NicPath,
  occasion: Occasion,
): NicRefusal[] {
  return nics.flatMap((nic, index) =>
    deviceTypeOf(nic)
      .prepare.refusals(nic, links, { answers: answers.get(nic.nicId) ?? [], inherited }, occasion)
      .map(({ reason, sentence, field }) => ({
        nicId: nic.nicId,
        reason,
        sentence,
        field: fieldOf(pathOf(index), field),
      })),
  );
}

/** What no look at the host tells ahead. */
function create(host: HostDevices, creation: DeviceCreation, field: string): void {
  if (creation.by === "tun") {
    host.factory.create(creation);
    return;
  }
  const [result] = host.route.execute(encodeBatch([creation.request]));
  if (result?.ok === true) return;
  const reason = result?.name ?? "NO_ANSWER";
  const why = result === undefined ? reason : kernelWords(result);
  throw new SwitchoverError("ABORTED", `The kernel refused to create ${creation.deviceName}: ${why}.`, {
    reason,
    field,
  });
}

function quarantine(
  route: RoutePort,
  nics: readonly NicDefinition[],
  before: SeenLinks,
  after: SeenLinks,
  pathOf: NicPath,
): void {
  const results = executeEach(
    route,
    nics.map((nic) => deviceTypeOf(nic).prepare.plan(nic, before, after)),
  );
  nics.forEach((nic, index) => {
    const problem = deviceTypeOf(nic).prepare.judge(nic, before, after, results[index] ?? []);
    if (problem === undefined) return;
    throw new SwitchoverError("ABORTED", problem.sentence, {
      reason: problem.reason,
      field: fieldOf(pathOf(index), problem.field),
    });
  });
}

/** Best effort: what cannot be undone stays quarantined, which harms nobody. */
function undoPreparation(
  route: RoutePort,
  nics: readonly NicDefinition[],
  before: SeenLinks,
  stacked: HostSurvey["stacked"],
): void {
  try {
    const after = withStacked(nics, readLinks(route, nics), stacked);
    const requests = nics.toReversed().flatMap((nic) => deviceTypeOf(nic).prepare.undo(nic, before, after));
    route.execute(encodeBatch(requests));
  } catch {
    return;
  }
}

function fieldOf(path: string, field: string | undefined): string {
  return field === undefined ? path : `${path}.${field}`;
}
