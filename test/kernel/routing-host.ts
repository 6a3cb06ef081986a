import type { HostDevices } from "../../agent/device/nic-preparation.ts";
import { macOf, withHost } from "./guest-nics.ts";
import { inNetworkNamespace, run } from "./in-network-namespace.ts";
import { ipFrame, textsOf } from "./ip-frame.ts";
import { TapEnd } from "./tap-end.ts";

const ICMP_PROTOCOL_AT = 23;
const ICMP = 1;
const PEER = "02:00:00:00:00:99";

/** A host that forwards, in a namespace of its own. */
export function inRoutingHost(body: (host: HostDevices) => void | Promise<void>): Promise<void> {
  return inNetworkNamespace(() => {
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
    return withHost(body);
  });
}

export interface World {
  sendToGuest(text: string): void;
  /** Whether the host said by ICMP that it knows no way, since this was asked last. */
  unreachable(): boolean;
  texts(): string[];
  close(): void;
}

/** The host's network: `up0` with 10.7.0.1/24 and 2001:db8:7::1/64, at whose far end is 10.7.0.2. */
export function addWorld(): World {
  const far = new TapEnd("up0");
  run("ip", "link", "set", "up0", "addrgenmode", "none", "address", "02:00:00:00:00:01");
  run("ip", "link", "set", "up0", "up");
  run("ip", "addr", "add", "10.7.0.1/24", "dev", "up0");
  run("ip", "addr", "add", "2001:db8:7::1/64", "dev", "up0", "nodad");
  run("ip", "neigh", "replace", "10.7.0.2", "lladdr", PEER, "dev", "up0");
  run("ip", "neigh", "replace", "2001:db8:7::2", "lladdr", PEER, "dev", "up0");
  const ethernet = { from: PEER, to: "02:00:00:00:00:01" };
  return {
    sendToGuest(text) {
      const byIpv4 = { source: "10.7.0.2", destination: "192.0.2.7", text: `${text} by IPv4` };
      const byIpv6 = { source: "2001:db8:7::2", destination: "2001:db8::7", text: `${text} by IPv6` };
      for (const packet of [byIpv4, byIpv6]) far.sendFrame(ipFrame({ ...ethernet, ...packet }));
    },
    unreachable: () =>
      far.frames().some((frame) => frame.readUInt16BE(12) === 0x0800 && frame[ICMP_PROTOCOL_AT] === ICMP),
    texts: () => textsOf(far.frames()),
    close: () => far.close(),
  };
}

/** To the gateway, whose address every host's tap has. */
export function fromGuest(text: string): Buffer {
  return ipFrame({
    from: macOf(0),
    to: "fe:54:00:00:00:01",
    source: "192.0.2.7",
    destination: "10.7.0.2",
    text,
  });
}
