import { DeviceOrigin, type PreparedNic as PreparedNicMessage } from "../../proto/gen/switchover/v1/nic.ts";
import type { PreparedNic } from "../device/nic-preparation.ts";

/** A prepared device as the contract shows it. */
export function toPreparedNicMessage(nic: PreparedNic): PreparedNicMessage {
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
