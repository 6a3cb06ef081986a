import { invalidArgument } from "../../../proto/error.ts";
import { type IpAddress, ipAddressBytes, parseIpAddress } from "../../../proto/ip-address.ts";
import type { MulticastGroup } from "../../netlink/multicast.ts";
import type { Stickiness } from "../../netlink/neighbour.ts";
import { HIGHEST_VLAN, LOWEST_VLAN } from "../../netlink/port-vlan.ts";
import { parseDeviceName } from "../device-name.ts";
import { addressesOf, type NicIdentity } from "../nic-identity.ts";
import { parseMulticastGroup } from "./multicast-group.ts";

/** A guest's NIC on a tap device that is a port of a bridge. */
export interface TapOnBridgeNic extends NicIdentity {
  readonly type: "tapOnBridge";
  readonly deviceName: string;
  readonly bridge: string;
  /** Who registers the address: Switchover, or the kernel by learning from the guest's frames. */
  readonly macTableManager: "switchover" | "kernel";
  /** Whether frames from elsewhere can move the registration; `plain` for bridges under an EVPN daemon. */
  readonly sticky: Stickiness;
  /** On a bridge that filters VLANs, those of the guest; absent on any other. */
  readonly vlans?: readonly number[];
  /** The groups that the port is a member of while the guest runs; absent where there are none. */
  readonly multicastGroups?: readonly MulticastGroup[];
  /** Registers the guest's addresses on a VXLAN device too. */
  readonly vxlan?: VxlanOfNic;
}

export interface VxlanOfNic {
  readonly deviceName: string;
  /** This host's own. */
  readonly vtepAddress: IpAddress;
  readonly vni?: number;
}

const MAX_VLANS = 64;
const MAX_GROUPS = 64;
/** Four sends of each kind: what a switchover can still wait for. */
const MAX_ENTRIES = 256;
const HIGHEST_VNI = 0xff_ffff;

export function checkTapOnBridge(nic: TapOnBridgeNic, field: string): void {
  parseDeviceName(nic.deviceName, `${field}.device_name`);
  parseDeviceName(nic.bridge, `${field}.bridge`);
  if (nic.deviceName === nic.bridge) {
    throw invalidArgument(`${field}.device_name`, `${nic.bridge} cannot be a port of itself.`);
  }
  checkVlans(nic.vlans ?? [], `${field}.vlans`);
  checkGroups(nic, `${field}.multicast_groups`);
  if (nic.vxlan !== undefined) checkVxlan(nic, nic.vxlan, `${field}.vxlan`);
  const { vlans = [null], multicastGroups = [] } = nic;
  const entries = vlans.length * (addressesOf(nic).length + multicastGroups.length);
  if (entries > MAX_ENTRIES) {
    const sentence = `Its addresses and groups in each of its VLANs are ${entries} entries: more than ${MAX_ENTRIES}.`;
    throw invalidArgument(nic.vlans === undefined ? field : `${field}.vlans`, sentence, "TOO_MANY");
  }
}

function checkVlans(vlans: readonly number[], field: string): void {
  if (vlans.length > MAX_VLANS) {
    throw invalidArgument(
      field,
      `${vlans.length} VLANs are more than the ${MAX_VLANS} of a NIC.`,
      "TOO_MANY",
    );
  }
  vlans.forEach((vlan, index) => {
    if (!Number.isInteger(vlan) || vlan < LOWEST_VLAN || vlan > HIGHEST_VLAN) {
      const sentence = `${vlan} is not a VLAN: ${LOWEST_VLAN} to ${HIGHEST_VLAN}.`;
      throw invalidArgument(`${field}[${index}]`, sentence, "VLAN_OUT_OF_RANGE");
    }
    if (vlans.indexOf(vlan) !== index) {
      throw invalidArgument(`${field}[${index}]`, `VLAN ${vlan} is given twice.`, "DUPLICATE");
    }
  });
}

function checkGroups({ multicastGroups: groups = [], macTableManager }: TapOnBridgeNic, field: string): void {
  if (groups.length === 0) return;
  refuseUnderKernel(macTableManager, field);
  if (groups.length > MAX_GROUPS) {
    throw invalidArgument(
      field,
      `${groups.length} groups are more than the ${MAX_GROUPS} of a NIC.`,
      "TOO_MANY",
    );
  }
  groups.forEach((group, index) => {
    parseMulticastGroup(group, `${field}[${index}]`);
    if (groups.indexOf(group) !== index) {
      throw invalidArgument(`${field}[${index}]`, `${group} is given twice.`, "DUPLICATE");
    }
  });
}

function checkVxlan(nic: TapOnBridgeNic, { deviceName, vtepAddress, vni }: VxlanOfNic, field: string): void {
  refuseUnderKernel(nic.macTableManager, field);
  parseDeviceName(deviceName, `${field}.device_name`);
  if (deviceName === nic.deviceName || deviceName === nic.bridge) {
    throw invalidArgument(`${field}.device_name`, `${deviceName} is the NIC's own device or bridge.`);
  }
  if (!isVtepAddress(parseIpAddress(vtepAddress, `${field}.vtep_address`))) {
    throw invalidArgument(`${field}.vtep_address`, `${vtepAddress} is no VTEP's own address.`, "NOT_UNICAST");
  }
  if (vni !== undefined && (!Number.isInteger(vni) || vni < 1 || vni > HIGHEST_VNI)) {
    throw invalidArgument(`${field}.vni`, `${vni} is not a VNI: 1 to ${HIGHEST_VNI}.`, "VNI_OUT_OF_RANGE");
  }
  if ((nic.vlans ?? []).length > 1) {
    const sentence =
      "The VNI of each of several VLANs cannot be said: a VXLAN entry goes with one VLAN at most.";
    throw invalidArgument(field, sentence, "UNSUPPORTED");
  }
}

/** R1: on a bridge that the kernel manages nothing is added. */
function refuseUnderKernel(manager: TapOnBridgeNic["macTableManager"], field: string): void {
  if (manager === "switchover") return;
  const sentence = "Nothing is added for a NIC whose bridge the kernel manages.";
  throw invalidArgument(field, sentence, "UNSUPPORTED");
}

/** Neither a group nor the unspecified address, which a VXLAN device takes for its own default. */
function isVtepAddress(address: IpAddress): boolean {
  const bytes = ipAddressBytes(address);
  const [first = 0] = bytes;
  const isGroup = bytes.length === 4 ? first >= 224 : first === 0xff;
  return !isGroup && bytes.some((byte) => byte !== 0);
}
