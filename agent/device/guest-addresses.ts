import { invalidArgument } from "../../proto/error.ts";
import { type GuestAddress, parseGuestAddress } from "../../proto/guest-address.ts";

export const MAX_GUEST_ADDRESSES = 64;

/** The addresses of one NIC's guest, or INVALID_ARGUMENT naming the first that is wrong, or is there twice. */
export function parseGuestAddresses(texts: readonly string[], field: string): readonly GuestAddress[] {
  if (texts.length > MAX_GUEST_ADDRESSES) {
    throw invalidArgument(
      field,
      `${texts.length} addresses are more than the ${MAX_GUEST_ADDRESSES} of a NIC.`,
    );
  }
  const addresses = new Set<GuestAddress>();
  texts.forEach((text, index) => {
    const at = `${field}[${index}]`;
    const address = parseGuestAddress(text, at);
    if (addresses.has(address)) throw invalidArgument(at, `${address} is there twice.`, "DUPLICATE");
    addresses.add(address);
  });
  return [...addresses];
}
