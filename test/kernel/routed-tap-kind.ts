import { routedNic } from "./guest-nics.ts";
import { routedOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { type Drift, EVERY_DEED, exists, type KindOfNic } from "./kind-of-nic.ts";

/** In the order of `routedOf`; fe80::/64 comes with the address. */
const REGISTERED = `tap0 - up none
169.254.0.1/32 link
fe80::1/64 link
192.0.2.7 static
2001:db8::7 static 1
fe80::/64 kernel 256`;
const PREPARED = "tap0 - down none";
const STOPPED = "tap0 - up none";
const MISSING = "no tap0";

/** A tap that the host routes to, and v0, another way out of the host. */
export function routedTapKind(name: string): KindOfNic {
  return {
    name,
    nic: routedNic(0),
    shown: { prepared: PREPARED, registered: REGISTERED, stopped: STOPPED, released: MISSING },
    open: (elsewhere) => {
      run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1");
      run("ip", "link", "set", "v0", "addrgenmode", "none", "up");
      run("ip", "addr", "add", "10.7.0.1/24", "dev", "v0");
      run("ip", "link", "set", "v1", "addrgenmode", "none", "up");
      run("ip", "link", "add", "br0", "type", "bridge");
      return {
        read: () => (exists("tap0") ? routedOf("tap0") : MISSING),
        repair() {
          run("ip", "route", "flush", "dev", "v0", "proto", "boot");
          if (exists("tap0")) run("ip", "link", "set", "tap0", "nomaster");
        },
        close: () => {},
        drifts: drifts(elsewhere),
      };
    },
  };
}

function drifts(elsewhere: string): readonly Drift[] {
  const missing: Pick<Drift, "shown" | "said" | "endedBy" | "fails" | "isAstray"> = {
    shown: { prepared: MISSING, registered: MISSING, released: MISSING },
    said: { registered: "DEVICE_MISSING" },
    endedBy: ["prepare", "release"],
    fails: ["start"],
    isAstray: true,
  };
  return [
    {
      name: "its addresses flushed",
      of: "registered",
      happen: () => void run("ip", "addr", "flush", "dev", "tap0"),
      // With its last IPv4 address the kernel takes the IPv4 routes of a device.
      shown: { registered: without("169.254.0.1/32", "fe80::1/64", "fe80::/64", "192.0.2.7") },
      said: { registered: "ADDRESS_MISSING" },
      endedBy: EVERY_DEED,
    },
    {
      name: "its routes flushed",
      of: "registered",
      happen: () => {
        for (const family of ["-4", "-6"])
          run("ip", family, "route", "flush", "dev", "tap0", "proto", "static");
      },
      shown: { registered: without("192.0.2.7", "2001:db8::7") },
      said: { registered: "ROUTE_MISSING" },
      endedBy: EVERY_DEED,
    },
    {
      name: "its prefix led elsewhere",
      of: "registered",
      happen: () => void run("ip", "route", "replace", "192.0.2.7/32", "dev", "v0"),
      shown: { registered: without("192.0.2.7") },
      said: { registered: "ROUTED_ELSEWHERE" },
      endedBy: ["start", "mendRunning"],
    },
    {
      name: "taken down",
      of: "registered",
      happen: () => void run("ip", "link", "set", "tap0", "down"),
      shown: { prepared: PREPARED, registered: `${PREPARED}\n169.254.0.1/32 link` },
      said: { registered: "DEVICE_DOWN" },
      endedBy: ["prepare", "start", "mendRunning", "release"],
    },
    {
      name: "taken up",
      of: "prepared",
      happen: () => void run("ip", "link", "set", "tap0", "up"),
      shown: { prepared: STOPPED },
      said: {},
      endedBy: ["prepare", "start", "mendRunning", "release"],
    },
    {
      name: "given the host's address",
      of: "prepared",
      happen: () => void run("ip", "addr", "add", "169.254.0.1/32", "dev", "tap0", "scope", "link"),
      shown: { prepared: `${PREPARED}\n169.254.0.1/32 link` },
      said: { prepared: "UNWANTED_ADDRESS" },
      endedBy: EVERY_DEED,
    },
    {
      name: "made a port of a bridge",
      of: "registered",
      happen: () => void run("ip", "link", "set", "tap0", "master", "br0"),
      shown: {
        prepared: STOPPED.replace("-", "br0"),
        registered: REGISTERED.replace("tap0 -", "tap0 br0"),
      },
      said: { registered: "PORT_OF_ANOTHER" },
      endedBy: ["release"],
      fails: ["prepare", "start"],
      isAstray: true,
    },
    {
      name: "deleted",
      of: "registered",
      happen: () => void run("ip", "link", "del", "tap0"),
      ...missing,
    },
    {
      name: "moved to another namespace",
      of: "registered",
      happen: () => {
        run("ip", "link", "set", "tap0", "netns", elsewhere);
        run("ip", "-n", elsewhere, "link", "del", "tap0");
      },
      ...missing,
    },
  ];
}

/** What is shown of a NIC that is registered, but for the lines that begin like this. */
function without(...beginnings: readonly string[]): string {
  return REGISTERED.split("\n")
    .filter((line) => !beginnings.some((beginning) => line.startsWith(`${beginning} `)))
    .join("\n");
}
