import { type MacAddress, parseMacAddress } from "../../proto/mac-address.ts";

/** The address of a guest's n-th NIC (1 to 15), another one for each guest whose first address ends otherwise. */
export function furtherMac(first: MacAddress, index: number): MacAddress {
  return parseMacAddress(`52:54:00:5e:${first.slice(-2)}:0${index.toString(16)}`, "mac");
}
