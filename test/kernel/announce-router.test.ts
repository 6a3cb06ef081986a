import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeNeighbourAdvertisement } from "../../agent/announce/frame.ts";
import { parseGuestAddress } from "../../proto/guest-address.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { skipWithout } from "../resource.ts";
import { macOf } from "./guest-nics.ts";
import { eventually } from "./host-state.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { TapEnd } from "./tap-end.ts";

const options = { skip: skipWithout("root"), timeout: 30_000 };
const ROUTER = parseGuestAddress("fe80::5", "");
const MAC = parseMacAddress(macOf(0), "");
/** Of an IPv6 packet within its frame. */
const ICMPV6_AT = 54;
const FLAGS_AT = ICMPV6_AT + 4;
const ROUTER_FLAG = 0x80;

/** The neighbour advertisement's packet made a router advertisement of 30 minutes: as long, but for the option it drops. */
function routerAdvertisement(): Buffer {
  const frame = Buffer.from(encodeNeighbourAdvertisement(MAC, ROUTER)).subarray(0, ICMPV6_AT + 16);
  frame.writeUInt16BE(16, 18);
  frame.fill(0, ICMPV6_AT);
  frame[ICMPV6_AT] = 134;
  frame[ICMPV6_AT + 4] = 64;
  frame.writeUInt16BE(1_800, ICMPV6_AT + 6);
  return withChecksum(frame);
}

function withChecksum(frame: Buffer): Buffer {
  frame.writeUInt16BE(0, ICMPV6_AT + 2);
  let sum = frame.readUInt16BE(18) + 58;
  for (let at = 22; at < frame.length; at += 2) sum += frame.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  frame.writeUInt16BE(~sum & 0xffff, ICMPV6_AT + 2);
  return frame;
}

function asHost(advertisement: Uint8Array): Buffer {
  const frame = Buffer.from(advertisement);
  frame[FLAGS_AT] = (frame[FLAGS_AT] ?? 0) & ~ROUTER_FLAG;
  return withChecksum(frame);
}

test(
  "an announcement leaves a guest that is its peers' default router what it is, as one of a host would not",
  options,
  () =>
    inNetworkNamespace(async () => {
      const peer = new TapEnd("peer0");
      run("sysctl", "-qw", "net.ipv6.conf.peer0.accept_ra=2");
      run("ip", "link", "set", "peer0", "up");
      const router = () => run("ip", "-6", "route", "show", "default").trim();
      const neighbour = () => run("ip", "-6", "neigh", "show", ROUTER, "dev", "peer0");
      peer.sendFrame(routerAdvertisement());
      await eventually("the default router", () => (router().includes(`via ${ROUTER}`) ? true : undefined));
      run("ip", "-6", "neigh", "replace", ROUTER, "lladdr", MAC, "dev", "peer0", "router", "nud", "stale");

      const announcement = encodeNeighbourAdvertisement(MAC, ROUTER);
      peer.sendFrame(announcement);
      assert.match(router(), /via fe80::5/);
      assert.match(neighbour(), /router/);

      peer.sendFrame(asHost(announcement));
      await eventually("the loss of the router", () => (router() === "" ? true : undefined));
      peer.close();
    }),
);
