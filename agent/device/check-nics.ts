import { invalidArgument } from "../../proto/error.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { deviceTypeOf } from "./device-types.ts";
import type { NicDefinition } from "./nic-definition.ts";
import { addressesOf } from "./nic-identity.ts";

export const MAX_NICS_PER_GUEST = 64;
const MAX_ADDITIONAL_MAC_ADDRESSES = 64;

const NIC_ID_TEXT = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/;

/** Throws INVALID_ARGUMENT for a text that can never be a NIC's id. */
export function parseNicId(text: string, field: string): string {
  if (NIC_ID_TEXT.test(text)) return text;
  if (text === "") throw invalidArgument(field, "A NIC id is required.", "REQUIRED");
  throw invalidArgument(field, `${JSON.stringify(text.slice(0, 64))} is not a NIC id.`);
}

/** Where the n-th NIC is in what a caller asks for. */
export type NicPath = (index: number) => string;

export const nicPathInList: NicPath = (index) => `nics[${index}]`;

/** Throws INVALID_ARGUMENT for the first thing that is wrong with a guest's NICs, whatever the host looks like. */
export function checkNicDefinitions(nics: readonly NicDefinition[], pathOf: NicPath = nicPathInList): void {
  if (nics.length > MAX_NICS_PER_GUEST) {
    const field = pathOf(nics.length - 1).replace(/\[\d+\]$/, "");
    const sentence = `${nics.length} NICs are more than the ${MAX_NICS_PER_GUEST} of a guest.`;
    throw invalidArgument(field, sentence, "TOO_MANY");
  }
  const nicIds = new Set<string>();
  const deviceNames = new Set<string>();
  const places = new Set<string>();
  const segments = new Map<string, "many" | "oneNic">();
  const routes = new Set<string>();
  nics.forEach((nic, index) => {
    const at = pathOf(index);
    const type = deviceTypeOf(nic);
    parseNicId(nic.nicId, `${at}.nic_id`);
    checkAddresses(nic, at);
    type.check(nic, `${at}.${type.field}`);
    if (nicIds.has(nic.nicId)) {
      throw invalidArgument(`${at}.nic_id`, `${nic.nicId} names two NICs.`, "DUPLICATE");
    }
    nicIds.add(nic.nicId);
    const deviceName = type.deviceName(nic);
    if (deviceName !== undefined) {
      if (deviceNames.has(deviceName)) {
        throw invalidArgument(
          `${at}.${type.field}.device_name`,
          `${deviceName} serves two NICs.`,
          "DUPLICATE",
        );
      }
      deviceNames.add(deviceName);
    }
    const ownRoutes = type.routes?.(nic) ?? [];
    ownRoutes.forEach((route, routeIndex) => {
      if (!routes.has(route)) return;
      const path = `${at}.${type.field}.routes[${routeIndex}]`;
      throw invalidArgument(path, `${route} leads to two NICs.`, "DUPLICATE");
    });
    for (const route of ownRoutes) routes.add(route);
    const segment = type.segment(nic);
    if (segment === undefined) return;
    checkSegment(nic, segment, segments, `${at}.${type.field}`);
    for (const { macAddress, field: addressField } of addressesOf(nic)) {
      const place = `${macAddress} on ${segment}`;
      if (places.has(place)) {
        throw invalidArgument(`${at}.${addressField}`, `${place} serves two NICs.`, "DUPLICATE");
      }
      places.add(place);
    }
  });
}

/** `segments` are those of the NICs before. */
function checkSegment(
  nic: NicDefinition,
  segment: string,
  segments: Map<string, "many" | "oneNic">,
  at: string,
): void {
  const { by, field } = deviceTypeOf(nic).segmentUse?.(nic) ?? { by: "many", field: "" };
  const before = segments.get(segment);
  if (before !== undefined && (before === "oneNic" || by === "oneNic")) {
    const sentence = `${segment} serves two NICs, and one of them must have it to itself.`;
    throw invalidArgument(`${at}.${field}`, sentence, "DUPLICATE");
  }
  segments.set(segment, by);
}

function checkAddresses(nic: NicDefinition, at: string): void {
  const { additionalMacAddresses: additional = [] } = nic;
  const type = deviceTypeOf(nic);
  const field = `${at}.additional_mac_addresses`;
  if (additional.length > 0 && !type.extras.includes("additional_mac_addresses")) {
    throw invalidArgument(field, `A NIC of type ${type.field} has one MAC address.`, "UNSUPPORTED");
  }
  if (additional.length > MAX_ADDITIONAL_MAC_ADDRESSES) {
    const sentence = `${additional.length} more addresses are more than the ${MAX_ADDITIONAL_MAC_ADDRESSES} of a NIC.`;
    throw invalidArgument(field, sentence, "TOO_MANY");
  }
  const seen = new Set<string>();
  for (const { macAddress, field: addressField } of addressesOf(nic)) {
    parseMacAddress(macAddress, `${at}.${addressField}`);
    if (seen.has(macAddress)) {
      throw invalidArgument(
        `${at}.${addressField}`,
        `${macAddress} is an address of the NIC already.`,
        "DUPLICATE",
      );
    }
    seen.add(macAddress);
  }
}
