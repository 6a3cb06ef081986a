import { type MacAddress, macAddressBytes } from "../../proto/mac-address.ts";
import { HOST_IS_LITTLE_ENDIAN } from "../netlink/host-order.ts";

/** As much of a frame as names its source. */
export const KEPT_BYTES = 12;

const INSTRUCTION_BYTES = 8;
/** Classic BPF, by the names of linux/bpf_common.h and linux/filter.h. */
const LOAD_WORD = 0x20;
const LOAD_HALF = 0x28;
const LOAD_BYTE = 0x30;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;
const PACKET_TYPE = 0xfffff004;
const PACKET_OUTGOING = 4;
const ETHERTYPE_AT = 12;
const TAGGED_ETHERTYPE_AT = 16;
const ETHERTYPE_8021Q = 0x8100;
const ETHERTYPE_RARP = 0x8035;
const SOURCE_AT = 6;
const DROP = 0;

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, operand: number];

/**
 * The filter (`struct sock_filter[]`) that keeps of a link's frames those which leave by it from one of the sources, but
 * for reverse ARP. The tag of a VLAN is in the frame only where the link's device does not add it by itself.
 */
export function encodeSourceFilter(sources: readonly MacAddress[]): Uint8Array {
  const program: Instruction[] = [
    [LOAD_BYTE, 0, 0, PACKET_TYPE],
    [JUMP_IF_EQUAL, 1, 0, PACKET_OUTGOING],
    [RETURN, 0, 0, DROP],
    [LOAD_HALF, 0, 0, ETHERTYPE_AT],
    [JUMP_IF_EQUAL, 0, 1, ETHERTYPE_8021Q],
    [LOAD_HALF, 0, 0, TAGGED_ETHERTYPE_AT],
    [JUMP_IF_EQUAL, 0, 1, ETHERTYPE_RARP],
    [RETURN, 0, 0, DROP],
    ...sources.flatMap(keepFrom),
    [RETURN, 0, 0, DROP],
  ];
  const bytes = new Uint8Array(program.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  program.forEach(([code, ifTrue, ifFalse, operand], index) => {
    const at = index * INSTRUCTION_BYTES;
    view.setUint16(at, code, HOST_IS_LITTLE_ENDIAN);
    view.setUint8(at + 2, ifTrue);
    view.setUint8(at + 3, ifFalse);
    view.setUint32(at + 4, operand, HOST_IS_LITTLE_ENDIAN);
  });
  return bytes;
}

function keepFrom(source: MacAddress): Instruction[] {
  const view = new DataView(macAddressBytes(source).buffer);
  return [
    [LOAD_WORD, 0, 0, SOURCE_AT],
    [JUMP_IF_EQUAL, 0, 3, view.getUint32(0)],
    [LOAD_HALF, 0, 0, SOURCE_AT + 4],
    [JUMP_IF_EQUAL, 0, 1, view.getUint16(4)],
    [RETURN, 0, 0, KEPT_BYTES],
  ];
}
