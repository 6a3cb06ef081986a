import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  PrepareNicsRequest,
  PrepareNicsResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { DeviceOrigin } from "../../proto/gen/switchover/v1/nic.ts";
import { type GuestId, parseGuestId, parseInstanceId } from "../../proto/ids.ts";
import type { IpPrefix } from "../../proto/ip-prefix.ts";
import { deviceTypeOf } from "../device/device-types.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import { type PreparedNic, preflightNics, prepareNics as quarantineNics } from "../device/nic-preparation.ts";
import type { Host } from "../host.ts";
import type { Instance } from "../instance/instance.ts";
import { parseNics } from "../instance/nic-message.ts";
import { PreparedDevices } from "../instance/prepared-devices.ts";

export function prepareNics(host: Host, request: PrepareNicsRequest): PrepareNicsResponse {
  const guestId = parseGuestId(request.guestId, "guest_id");
  const instanceId = parseInstanceId(request.instanceId, "instance_id");
  const nics = parseNics(request.nics);
  const { devices, clock } = host.ports;

  const known = host.instances.find(guestId, instanceId);
  if (known !== undefined) {
    if (JSON.stringify(known.nics) === JSON.stringify(nics)) {
      return { applied: Applied.ALREADY_SO, nics: known.prepared.map(toMessage) };
    }
    if (known.state !== "prepared") throw otherDefinition(instanceId);
  }
  refuseForeignMacs(host, guestId, nics);
  refuseForeignRoutes(host, guestId, nics);
  const abandoned = devicesInUse(host, nics, known);
  const [refusal] = preflightNics(devices.route, nics);
  if (refusal !== undefined) {
    throw new SwitchoverError("FAILED_PRECONDITION", refusal.sentence, {
      reason: refusal.reason,
      field: refusal.field,
    });
  }
  if (request.validateOnly) return { applied: Applied.UNSPECIFIED, nics: [] };

  const journal = host.journalOf(guestId);
  if (known !== undefined) {
    known.devices.release();
    host.forget(known);
  }
  const prepared = quarantineNics(devices, nics);
  const quarantined = PreparedDevices.armed(devices, nics, prepared, () => clock.unixUs());
  try {
    journal.write({ atUnixUs: clock.unixUs(), instanceId, word: { kind: "nicsPrepared", nics, prepared } });
  } catch (thrown) {
    quarantined.release();
    throw thrown;
  }
  for (const instance of abandoned) host.forget(instance);
  quarantined.rehearse();
  host.hold({ guestId, instanceId, nics, prepared, devices: quarantined });
  return { applied: Applied.CHANGED, nics: prepared.map(toMessage) };
}

/** Throws where an instance that may still have its VMM uses one of the devices; returns those that have lost theirs. */
function devicesInUse(
  host: Host,
  nics: readonly NicDefinition[],
  replaced: Instance | undefined,
): readonly Instance[] {
  const wanted = new Map(nics.map((nic, index) => [deviceTypeOf(nic).deviceName(nic), { nic, index }]));
  wanted.delete(undefined);
  return host.instances.all().filter((instance) => {
    if (instance === replaced) return false;
    const shared = instance.nics
      .map((nic) => wanted.get(deviceTypeOf(nic).deviceName(nic)))
      .find((found) => found !== undefined);
    if (shared === undefined || instance.isAbandoned()) return shared !== undefined;
    const { field, deviceName } = deviceTypeOf(shared.nic);
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `Device ${deviceName(shared.nic)} belongs to instance ${instance.instanceId} of guest ${instance.guestId}.`,
      { reason: "DEVICE_IN_USE", field: `nics[${shared.index}].${field}.device_name` },
    );
  });
}

/** One bridge, and one parent, delivers a MAC to one device: another guest with it would take it over silently. */
function refuseForeignMacs(host: Host, guestId: GuestId, nics: readonly NicDefinition[]): void {
  const others = instancesOfOthers(host, guestId);
  nics.forEach((nic, index) => {
    const { macAddress } = nic;
    const segment = deviceTypeOf(nic).segment(nic);
    if (segment === undefined) return;
    const owner = others.find((other) =>
      other.nics.some((its) => its.macAddress === macAddress && deviceTypeOf(its).segment(its) === segment),
    );
    if (owner === undefined) return;
    throw new SwitchoverError(
      "FAILED_PRECONDITION",
      `${macAddress} on ${segment} belongs to guest ${owner.guestId}.`,
      {
        reason: "MAC_IN_USE",
        field: `nics[${index}].mac_address`,
      },
    );
  });
}

/** A prefix leads to one device: the guest that starts last would take it over silently. */
function refuseForeignRoutes(host: Host, guestId: GuestId, nics: readonly NicDefinition[]): void {
  if (!nics.some((nic) => deviceTypeOf(nic).routes !== undefined)) return;
  const owners = new Map(
    instancesOfOthers(host, guestId).flatMap((other) =>
      other.nics.flatMap((its) => routesOf(its).map((route) => [route, other.guestId] as const)),
    ),
  );
  nics.forEach((nic, index) => {
    routesOf(nic).forEach((route, routeIndex) => {
      const owner = owners.get(route);
      if (owner === undefined) return;
      throw new SwitchoverError("FAILED_PRECONDITION", `${route} belongs to guest ${owner}.`, {
        reason: "ROUTE_IN_USE",
        field: `nics[${index}].${deviceTypeOf(nic).field}.routes[${routeIndex}]`,
      });
    });
  });
}

function routesOf(nic: NicDefinition): readonly IpPrefix[] {
  return deviceTypeOf(nic).routes?.(nic) ?? [];
}

/** Of those that may still have their VMM. */
function instancesOfOthers(host: Host, guestId: GuestId): readonly Instance[] {
  return host.instances.all().filter((other) => other.guestId !== guestId && !other.isAbandoned());
}

function otherDefinition(instanceId: string): SwitchoverError {
  return new SwitchoverError("ALREADY_EXISTS", `Instance ${instanceId} was prepared here with other NICs.`, {
    reason: "INSTANCE_EXISTS",
    field: "instance_id",
  });
}

function toMessage(nic: PreparedNic): PrepareNicsResponse["nics"][number] {
  return {
    nicId: nic.nicId,
    deviceName: nic.deviceName,
    interfaceIndex: nic.ifindex,
    origin: originOf(nic),
    characterDevice: nic.characterDevice ?? "",
  };
}

function originOf({ deviceName, ownership }: PreparedNic): DeviceOrigin {
  if (deviceName === "") return DeviceOrigin.UNMANAGED;
  return ownership.device === "created" ? DeviceOrigin.CREATED : DeviceOrigin.EXISTING;
}
