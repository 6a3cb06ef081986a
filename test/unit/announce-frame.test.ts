import assert from "node:assert/strict";
import { test } from "node:test";
import {
  encodeArpAnnouncement,
  encodeNeighbourAdvertisement,
  encodeReverseArp,
} from "../../agent/announce/frame.ts";
import { parseGuestAddress } from "../../proto/guest-address.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";

const MAC = parseMacAddress("52:54:00:12:34:56", "");
const IPV4 = parseGuestAddress("10.78.0.5", "");
const IPV6 = parseGuestAddress("2001:db8::5", "");

/** Written by hand from the layouts of RFC 903, 826, 8200 and 4861, the checksum by another program. */
const RARP = "0001 0800 06 04 0003 525400123456 00000000 525400123456 00000000";
const ARP = "0001 0800 06 04 0001 525400123456 0a4e0005 000000000000 0a4e0005";
const ADVERTISEMENT =
  "60000000 0020 3a ff 20010db8000000000000000000000005 ff020000000000000000000000000001" +
  "88 00 f466 a0000000 20010db8000000000000000000000005 02 01 525400123456";
const PADDING = "00".repeat(18);

const FRAMES: readonly [what: string, frame: Uint8Array, bytes: string][] = [
  ["reverse ARP", encodeReverseArp(MAC), `ffffffffffff 525400123456 8035 ${RARP} ${PADDING}`],
  [
    "reverse ARP in VLAN 7",
    encodeReverseArp(MAC, 7),
    `ffffffffffff 525400123456 8100 0007 8035 ${RARP} ${PADDING}`,
  ],
  [
    "an ARP announcement",
    encodeArpAnnouncement(MAC, IPV4),
    `ffffffffffff 525400123456 0806 ${ARP} ${PADDING}`,
  ],
  [
    "an ARP announcement in VLAN 4094",
    encodeArpAnnouncement(MAC, IPV4, 4094),
    `ffffffffffff 525400123456 8100 0ffe 0806 ${ARP} ${PADDING}`,
  ],
  [
    "a neighbour advertisement",
    encodeNeighbourAdvertisement(MAC, IPV6),
    `333300000001 525400123456 86dd ${ADVERTISEMENT}`,
  ],
  [
    "a neighbour advertisement in VLAN 7",
    encodeNeighbourAdvertisement(MAC, IPV6, 7),
    `333300000001 525400123456 8100 0007 86dd ${ADVERTISEMENT}`,
  ],
];

for (const [what, frame, bytes] of FRAMES) {
  test(`${what} has the bytes of its RFC`, () => {
    assert.equal(Buffer.from(frame).toString("hex"), bytes.replaceAll(" ", ""));
  });
}
