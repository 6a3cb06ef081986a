import type { AttributeDecoder } from "./attribute.ts";
import type { AF_INET6 } from "./link-attributes.ts";
import { malformed } from "./message.ts";

export const AF_INET = 2;

export type IpFamily = typeof AF_INET | typeof AF_INET6;

/** The address that the attribute holds, in the family of its message. */
export function ipBytesOf(attributes: AttributeDecoder, family: IpFamily): Uint8Array {
  const bytes = attributes.bytes();
  if (bytes.length === ipByteCount(family)) return bytes;
  throw malformed(`An address of family ${family} has ${bytes.length} bytes.`);
}

export function ipByteCount(family: IpFamily): number {
  return family === AF_INET ? 4 : 16;
}
