/** Why a NIC cannot be prepared or moved here, by what exists. */
import { CREATED_ALIAS } from "../created-device.ts";
import type { NicProblem, SeenLinks } from "../device.ts";
import { notATap } from "../device-link.ts";
import { addressesOf } from "../nic-identity.ts";
import type { TapOnBridgeNic } from "./definition.ts";
import { vlanNotOnPort } from "./judge-registration.ts";
import { bridgeMissing, missingVlansOf, vxlanMissing } from "./place.ts";
import { bridgeNotVlanAware, DEVICE_FIELD } from "./state.ts";

export function refusalsOf(nic: TapOnBridgeNic, links: SeenLinks): readonly NicProblem[] {
  return [bridgeProblem(nic, links), deviceProblem(nic, links), vxlanProblem(nic, links)].filter(
    (problem) => problem !== undefined,
  );
}

function bridgeProblem(nic: TapOnBridgeNic, links: SeenLinks): NicProblem | undefined {
  const bridge = links.get(nic.bridge);
  const field = "tap_on_bridge.bridge";
  if (bridge === undefined) return bridgeMissing(nic);
  if (bridge.kind !== "bridge") {
    return { reason: "NOT_A_BRIDGE", sentence: `${nic.bridge} is not a bridge.`, field };
  }
  if (bridge.state !== "up") return { reason: "BRIDGE_DOWN", sentence: `${nic.bridge} is down.`, field };
  if (bridge.vlanFiltering === "on" && nic.vlans === undefined) {
    const sentence = `${nic.bridge} filters VLANs: an entry without a VLAN would not reach the guest.`;
    return { reason: "BRIDGE_VLAN_AWARE", sentence, field };
  }
  if (bridge.vlanFiltering !== "on" && nic.vlans !== undefined) return bridgeNotVlanAware(nic);
  const own = addressesOf(nic).find(({ macAddress }) => macAddress === bridge.macAddress);
  if (own !== undefined) {
    const sentence = `${own.macAddress} is the address of ${nic.bridge} itself.`;
    return { reason: "MAC_OF_BRIDGE", sentence, field: own.field };
  }
  return undefined;
}

function deviceProblem(nic: TapOnBridgeNic, links: SeenLinks): NicProblem | undefined {
  const device = links.get(nic.deviceName);
  if (device === undefined) return undefined;
  const otherKind = notATap(device, nic.deviceName, DEVICE_FIELD);
  if (otherKind !== undefined) return otherKind;
  if (device.masterIfindex !== undefined && device.masterIfindex !== links.get(nic.bridge)?.ifindex) {
    const sentence = `${nic.deviceName} is a port of ifindex ${device.masterIfindex}, not of ${nic.bridge}.`;
    return { reason: "PORT_OF_ANOTHER", sentence, field: DEVICE_FIELD };
  }
  // Into which VLANs a port of somebody else's goes is for its owner to say.
  const missing = device.alias === CREATED_ALIAS ? [] : missingVlansOf(nic, device);
  return missing.length === 0 ? undefined : vlanNotOnPort(nic, missing);
}

function vxlanProblem({ bridge, vxlan }: TapOnBridgeNic, links: SeenLinks): NicProblem | undefined {
  if (vxlan === undefined) return undefined;
  const { deviceName, vtepAddress, vni } = vxlan;
  const device = links.get(deviceName);
  const field = "tap_on_bridge.vxlan.device_name";
  if (device === undefined) return vxlanMissing(deviceName);
  if (device.vxlan === undefined) {
    return { reason: "NOT_A_VXLAN", sentence: `${deviceName} is not a VXLAN device.`, field };
  }
  if (device.masterIfindex === undefined || device.masterIfindex !== links.get(bridge)?.ifindex) {
    return { reason: "VXLAN_NOT_A_PORT", sentence: `${deviceName} is not a port of ${bridge}.`, field };
  }
  const { localAddress, vniFrom } = device.vxlan;
  if (localAddress !== undefined && localAddress !== vtepAddress) {
    const sentence = `${deviceName} is bound to ${localAddress}, not to ${vtepAddress}.`;
    return { reason: "VTEP_ADDRESS_DIFFERS", sentence, field: "tap_on_bridge.vxlan.vtep_address" };
  }
  if (vniFrom === "entry" && vni === undefined) {
    const sentence = `${deviceName} takes its VNIs from its entries: one is required.`;
    return { reason: "VNI_REQUIRED", sentence, field: "tap_on_bridge.vxlan.vni" };
  }
  if (vniFrom === "device" && vni !== undefined && vni !== device.vxlan.vni) {
    const sentence = `The VNI of ${deviceName} is ${device.vxlan.vni}, not ${vni}.`;
    return { reason: "VNI_DIFFERS", sentence, field: "tap_on_bridge.vxlan.vni" };
  }
  return undefined;
}
