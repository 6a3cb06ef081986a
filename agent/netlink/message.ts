/**
 * The netlink message: its header, and the two answers that every family shares (`NLMSG_ERROR`, `NLMSG_DONE`).
 *
 * Bytes in, data out: this file knows no file descriptor. The layers of this folder, from the ground up:
 *
 *     host-order, message, attribute      bytes
 *     neighbour, vxlan, link              one file a message family: FDB entries, those of a VXLAN device, links,
 *     multicast, port-vlan                multicast groups, the VLANs of a port,
 *     address, route                      IP addresses and routes
 *     route-request, route-port           what the rest of the agent says and hears: plain data
 *     errno, libc, endpoint               the machine: numbers, system calls, one socket
 *     route-reply                         what the kernel answers, as that data
 *     route-socket                        a RoutePort on an endpoint: sequence numbers, acks, replies
 *     table-reader                        whole tables, beside what counts
 *
 * Decoders throw nothing but SwitchoverError (INTERNAL, NETLINK_MALFORMED), and end on any input.
 */
import { SwitchoverError } from "../../proto/error.ts";
import { AttributeDecoder, AttributeEncoder } from "./attribute.ts";
import { HOST_IS_LITTLE_ENDIAN } from "./host-order.ts";

export const MESSAGE_HEADER_BYTES = 16;

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_MULTI = 0x2;
export const NLM_F_ACK = 0x4;
/** Set on a part of a dump during which the table changed: the dump has to be asked again. */
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
/** Of a request to delete. */
export const NLM_F_BULK = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;

/** Flags of an NLMSG_ERROR: the request is not repeated after its header; attributes follow. */
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;

const SEQUENCE_OFFSET = 8;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** A view into the datagram, without the header. */
  readonly payload: Uint8Array;
}

/** What an NLMSG_ERROR says: `errno` 0 is an acknowledgement; `text` is the kernel's extended ack, or empty. */
export interface KernelVerdict {
  readonly errno: number;
  readonly text: string;
}

export function malformed(sentence: string): SwitchoverError {
  return new SwitchoverError("INTERNAL", sentence, { reason: "NETLINK_MALFORMED" });
}

/**
 * The bytes of one request, with sequence number and port id zero (`patchSequence` fills in the former).
 * `body` is the family's fixed structure; throws the encoder's first problem.
 */
export function encodeMessage(
  type: number,
  flags: number,
  body: Uint8Array,
  attributes: (encoder: AttributeEncoder) => void = () => undefined,
): Uint8Array {
  const encoder = new AttributeEncoder(MESSAGE_HEADER_BYTES + body.length);
  attributes(encoder);
  const bytes = encoder.finish();
  bytes.set(body, MESSAGE_HEADER_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  view.setUint32(0, bytes.length, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(4, type, HOST_IS_LITTLE_ENDIAN);
  view.setUint16(6, NLM_F_REQUEST | flags, HOST_IS_LITTLE_ENDIAN);
  return bytes;
}

/** Writes the sequence number into the message that starts at `offset`. */
export function patchSequence(view: DataView, offset: number, sequence: number): void {
  view.setUint32(offset + SEQUENCE_OFFSET, sequence, HOST_IS_LITTLE_ENDIAN);
}

/** The messages of one datagram, in order. */
export function decodeMessages(datagram: Uint8Array): NetlinkMessage[] {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const messages: NetlinkMessage[] = [];
  let offset = 0;
  while (offset < datagram.length) {
    if (datagram.length - offset < MESSAGE_HEADER_BYTES) {
      throw malformed(`A netlink header is cut off after ${datagram.length - offset} bytes.`);
    }
    const length = view.getUint32(offset, HOST_IS_LITTLE_ENDIAN);
    if (length < MESSAGE_HEADER_BYTES || length > datagram.length - offset) {
      throw malformed(`A netlink message claims ${length} bytes where ${datagram.length - offset} are left.`);
    }
    messages.push({
      type: view.getUint16(offset + 4, HOST_IS_LITTLE_ENDIAN),
      flags: view.getUint16(offset + 6, HOST_IS_LITTLE_ENDIAN),
      sequence: view.getUint32(offset + SEQUENCE_OFFSET, HOST_IS_LITTLE_ENDIAN),
      payload: datagram.subarray(offset + MESSAGE_HEADER_BYTES, offset + length),
    });
    offset += (length + 3) & ~3;
  }
  return messages;
}

/** Reads an NLMSG_ERROR or an NLMSG_DONE, with the kernel's text where it gave one (NETLINK_EXT_ACK). */
export function decodeVerdict(message: NetlinkMessage): KernelVerdict {
  const { payload, flags } = message;
  if (payload.length < 4) throw malformed("A netlink verdict is shorter than its error number.");
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const errno = Math.abs(view.getInt32(0, HOST_IS_LITTLE_ENDIAN));
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, text: "" };
  let attributesAt = 4;
  if (message.type === NLMSG_ERROR) {
    if (payload.length < 4 + MESSAGE_HEADER_BYTES) {
      throw malformed("A netlink verdict does not repeat the header that it answers.");
    }
    const repeated =
      (flags & NLM_F_CAPPED) === 0 ? view.getUint32(4, HOST_IS_LITTLE_ENDIAN) : MESSAGE_HEADER_BYTES;
    attributesAt += (repeated + 3) & ~3;
  }
  if (attributesAt < 4 || attributesAt > payload.length) {
    throw malformed("A netlink verdict repeats more of the request than it holds.");
  }
  const attributes = new AttributeDecoder(payload, attributesAt);
  let text = "";
  while (attributes.next()) {
    if (attributes.type === NLMSGERR_ATTR_MSG) text = attributes.string();
  }
  attributes.finish();
  return { errno, text };
}
