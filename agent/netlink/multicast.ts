/**
 * Multicast membership of a bridge's ports: RTM_NEWMDB, RTM_DELMDB and RTM_GETMDB.
 */
import { isIPv4, isIPv6 } from "node:net";
import { type IpAddress, ipAddressBytes, ipAddressFromBytes } from "../../proto/ip-address.ts";
import { type MacAddress, macAddressBytes, macAddressFromBytes } from "../../proto/mac-address.ts";
import { AttributeDecoder } from "./attribute.ts";
import { HOST_IS_LITTLE_ENDIAN } from "./host-order.ts";
import { encodeMessage, malformed, NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE } from "./message.ts";
import { PF_BRIDGE } from "./neighbour.ts";

export const RTM_NEWMDB = 84;
export const RTM_DELMDB = 85;
const RTM_GETMDB = 86;

/** `struct br_port_msg`. */
const PORT_MESSAGE_BYTES = 8;
/** `struct br_mdb_entry`. */
const ENTRY_BYTES = 28;
const ENTRY_STATE = 4;
const ENTRY_VID = 6;
const ENTRY_ADDRESS = 8;
const ENTRY_PROTOCOL = 24;
const PERMANENT = 1;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;

/** MDBA_SET_ENTRY of a request that changes, MDBA_GET_ENTRY of one that asks. */
const REQUEST_ENTRY = 1;
/** The same number nests three times: MDBA_MDB, MDBA_MDB_ENTRY, MDBA_MDB_ENTRY_INFO. */
const NESTED_ENTRIES = 1;

/** An IPv4 or IPv6 group, or the MAC address of one that is neither, each in its canonical form. */
export type MulticastGroup = string & { readonly __brand: "MulticastGroup" };

/** Names a group on a bridge. */
export interface MulticastKey {
  readonly bridgeIfindex: number;
  readonly group: MulticastGroup;
  readonly vlan?: number;
}

/** One port's membership, as the kernel reports it; the bridge's own has the bridge's index. */
export interface MulticastEntry extends MulticastKey {
  readonly ifindex: number;
  /** `temporary`: seen in a report of the port's, and forgotten without another. */
  readonly state: "permanent" | "temporary";
}

/**
 * Joins the port to the group for good, also where a report had joined it for a while: kernels before 6.3 refuse that
 * with EEXIST. EINVAL where the bridge is down or does not snoop.
 */
export function encodeReplaceGroupEntry(key: MulticastKey, ifindex: number): Uint8Array {
  return encodeEntry(RTM_NEWMDB, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, key, ifindex, PERMANENT);
}

/** Takes the port out of the group, however it had joined. */
export function encodeDeleteGroupEntry(key: MulticastKey, ifindex: number): Uint8Array {
  return encodeEntry(RTM_DELMDB, NLM_F_ACK, key, ifindex, 0);
}

/** Asks a bridge for the members of a group; ENOENT where it has none, EOPNOTSUPP before kernel 6.8. */
export function encodeGetGroupEntry(key: MulticastKey): Uint8Array {
  return encodeEntry(RTM_GETMDB, 0, key, 0, 0);
}

/** The memberships that an RTM_NEWMDB or RTM_DELMDB tells. */
export function decodeMulticastEntries(payload: Uint8Array): readonly MulticastEntry[] {
  if (payload.length < PORT_MESSAGE_BYTES)
    throw malformed("A multicast message is shorter than its fixed part.");
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const bridgeIfindex = view.getUint32(4, HOST_IS_LITTLE_ENDIAN);
  const entries: MulticastEntry[] = [];
  const tables = new AttributeDecoder(payload, PORT_MESSAGE_BYTES);
  eachNested(tables, (table) => {
    eachNested(table, (group) => {
      while (group.next()) {
        if (group.type !== NESTED_ENTRIES) continue;
        const entry = decodeEntry(group.bytes(), bridgeIfindex);
        if (entry !== undefined) entries.push(entry);
      }
    });
  });
  tables.finish();
  return entries;
}

function eachNested(decoder: AttributeDecoder, read: (inner: AttributeDecoder) => void): void {
  while (decoder.next()) if (decoder.type === NESTED_ENTRIES) decoder.nested(read);
}

function decodeEntry(bytes: Uint8Array, bridgeIfindex: number): MulticastEntry | undefined {
  if (bytes.length < ENTRY_BYTES) throw malformed("A multicast entry is shorter than its structure.");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const group = groupOf(bytes.subarray(ENTRY_ADDRESS, ENTRY_PROTOCOL), view.getUint16(ENTRY_PROTOCOL));
  if (group === undefined) return undefined;
  const vlan = view.getUint16(ENTRY_VID, HOST_IS_LITTLE_ENDIAN);
  return {
    bridgeIfindex,
    ifindex: view.getUint32(0, HOST_IS_LITTLE_ENDIAN),
    group,
    ...(vlan === 0 ? {} : { vlan }),
    state: view.getUint8(ENTRY_STATE) === PERMANENT ? "permanent" : "temporary",
  };
}

function groupOf(address: Uint8Array, protocol: number): MulticastGroup | undefined {
  if (protocol === ETH_P_IP) return asGroup(ipAddressFromBytes(address.subarray(0, 4)));
  if (protocol === ETH_P_IPV6) return asGroup(ipAddressFromBytes(address));
  return protocol === 0 ? asGroup(macAddressFromBytes(address)) : undefined;
}

function asGroup(address: IpAddress | MacAddress): MulticastGroup {
  return address as string as MulticastGroup;
}

function encodeEntry(
  type: number,
  flags: number,
  key: MulticastKey,
  ifindex: number,
  state: number,
): Uint8Array {
  const body = new Uint8Array(PORT_MESSAGE_BYTES);
  body[0] = PF_BRIDGE;
  new DataView(body.buffer).setUint32(4, key.bridgeIfindex, HOST_IS_LITTLE_ENDIAN);
  const entry = new Uint8Array(ENTRY_BYTES);
  const view = new DataView(entry.buffer);
  view.setUint32(0, ifindex, HOST_IS_LITTLE_ENDIAN);
  view.setUint8(ENTRY_STATE, state);
  view.setUint16(ENTRY_VID, key.vlan ?? 0, HOST_IS_LITTLE_ENDIAN);
  const { address, protocol } = addressOf(key.group);
  entry.set(address, ENTRY_ADDRESS);
  view.setUint16(ENTRY_PROTOCOL, protocol);
  return encodeMessage(type, flags, body, (attributes) => attributes.bytes(REQUEST_ENTRY, entry));
}

function addressOf(group: MulticastGroup): { readonly address: Uint8Array; readonly protocol: number } {
  const text: string = group;
  if (isIPv4(text)) return { address: ipAddressBytes(text as IpAddress), protocol: ETH_P_IP };
  if (isIPv6(text)) return { address: ipAddressBytes(text as IpAddress), protocol: ETH_P_IPV6 };
  return { address: macAddressBytes(text as MacAddress), protocol: 0 };
}
