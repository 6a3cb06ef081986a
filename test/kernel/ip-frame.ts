/** Ethernet frames with IP packets of an experimental protocol (253), whose payload is a text. */
import { type IpPrefix, ipPrefixParts, parseIpPrefix } from "../../proto/ip-prefix.ts";

const ETHERNET_BYTES = 14;
const IPV4_HEADER_BYTES = 20;
const IPV6_HEADER_BYTES = 40;
const EXPERIMENTAL = 253;
const HOPS = 64;

export interface Frame {
  readonly from: string;
  readonly to: string;
  readonly source: string;
  readonly destination: string;
  readonly text: string;
}

/** In the family of its addresses. */
export function ipFrame({ from, to, source, destination, text }: Frame): Buffer {
  const [sourceBytes, destinationBytes] = [bytesOf(source), bytesOf(destination)];
  const isIpv4 = sourceBytes.length === 4;
  const ethernet = Buffer.from(`${to}${from}${isIpv4 ? "0800" : "86dd"}`.replaceAll(":", ""), "hex");
  const header = Buffer.alloc(isIpv4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES);
  if (isIpv4) {
    header[0] = 0x45;
    header.writeUInt16BE(IPV4_HEADER_BYTES + text.length, 2);
    header.set([HOPS, EXPERIMENTAL], 8);
    header.set(sourceBytes, 12);
    header.set(destinationBytes, 16);
    header.writeUInt16BE(checksumOf(header), 10);
  } else {
    header[0] = 0x60;
    header.writeUInt16BE(text.length, 4);
    header.set([EXPERIMENTAL, HOPS], 6);
    header.set(sourceBytes, 8);
    header.set(destinationBytes, 24);
  }
  return Buffer.concat([ethernet, header, Buffer.from(text, "latin1")]);
}

/** The texts of those frames that `ipFrame` made, whoever has routed them since. */
export function textsOf(frames: readonly Buffer[]): string[] {
  return frames.flatMap((frame) => {
    const type = frame.readUInt16BE(12);
    if (type === 0x0800 && frame[ETHERNET_BYTES + 9] === EXPERIMENTAL) {
      const end = ETHERNET_BYTES + frame.readUInt16BE(ETHERNET_BYTES + 2);
      return [frame.toString("latin1", ETHERNET_BYTES + IPV4_HEADER_BYTES, end)];
    }
    if (type === 0x86dd && frame[ETHERNET_BYTES + 6] === EXPERIMENTAL) {
      return [frame.toString("latin1", ETHERNET_BYTES + IPV6_HEADER_BYTES)];
    }
    return [];
  });
}

function bytesOf(address: string): Uint8Array {
  const prefix: IpPrefix = parseIpPrefix(`${address}/${address.includes(":") ? 128 : 32}`, "address");
  return ipPrefixParts(prefix).bytes;
}

function checksumOf(header: Buffer): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
