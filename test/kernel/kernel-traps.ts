/**
 * The traps of the kernel by number and type of device, where no test of a type's own states them: what is done, and the
 * kernel's state before and after.
 */
import assert from "node:assert/strict";
import type { NicDefinition } from "../../agent/device/nic-definition.ts";
import { findDrift, mendNics } from "../../agent/device/nic-mending.ts";
import type { HostDevices } from "../../agent/device/nic-preparation.ts";
import type { ArmedNicSet } from "../../agent/device/nic-set.ts";
import { macOf, macvtapNic, outcomesOf, routedNic, tapNic } from "./guest-nics.ts";
import { deviceNames, eventually, fdbOf, linkOf, portOf, routedOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { TapEnd } from "./tap-end.ts";

/** br0 with its uplink up0, and eth0, a parent that has a wire to `wire`. */
export interface TrapWorld {
  readonly host: HostDevices;
  readonly nics: readonly NicDefinition[];
  readonly set: ArmedNicSet;
  readonly elsewhere: string;
  readonly uplink: TapEnd;
  readonly wire: TapEnd;
}

export interface TrapRow {
  readonly trap: number;
  readonly device: string;
  readonly what: string;
  readonly nics: readonly NicDefinition[];
  /** Whether the guest's CPUs run before. */
  readonly cpus: "run" | "stand";
  readonly read: () => string;
  readonly before: string;
  readonly deed: (world: TrapWorld) => void | Promise<void>;
  readonly after: string;
}

const MAC = macOf(0);
const PEER = "02:00:00:00:00:99";
const BROADCAST = "ff:ff:ff:ff:ff:ff";
const ROUTED = `tap0 - up none
169.254.0.1/32 link
fe80::1/64 link
192.0.2.7 static
2001:db8::7 static 1
fe80::/64 kernel 256`;

function port(learning: string, flood: string, group: string): string {
  return `tap0 br0 up none learning=${learning} flood=${flood} mcast=${group} bcast=${group}`;
}

const QUARANTINED = port("off", "off", "off");
const LEARNING = port("on", "on", "on");

function tapText(): string {
  if (!deviceNames().split(" ").includes("tap0")) return "no tap0";
  return [portOf("tap0"), fdbOf(MAC)].filter(Boolean).join("\n");
}

function online(mode: string): string {
  return `mv0 on eth0 ${mode === "passthrough" ? "passthru" : mode} up UP ${MAC} none`;
}

function starts({ set }: TrapWorld, outcome = "started"): void {
  assert.equal(outcomesOf(set.start().nics), `net0 ${outcome}`);
}

function stops({ set }: TrapWorld, outcome: string): void {
  assert.equal(outcomesOf(set.stop().nics), outcome);
}

async function hearsAs({ uplink }: TrapWorld, entry: string): Promise<void> {
  await eventually(entry, () => {
    uplink.send(MAC, BROADCAST, "from elsewhere");
    return fdbOf(MAC) === entry ? true : undefined;
  });
}

const KERNEL_TAP = {
  device: "tap on a kernel-managed bridge",
  nics: [tapNic(0, { macTableManager: "kernel" })],
  read: tapText,
};
const ROUTED_TAP = { device: "routed tap", nics: [routedNic(0)], read: () => routedOf("tap0") };
const MODES = ["private", "vepa", "bridge", "passthrough"] as const;

export const TRAPS: readonly TrapRow[] = [
  {
    ...KERNEL_TAP,
    trap: 1,
    what: "an address that the uplink has learned stays there until the guest speaks",
    cpus: "stand",
    before: QUARANTINED,
    deed: async (world) => {
      await hearsAs(world, "up0 br0 dynamic");
      starts(world);
    },
    after: `${LEARNING}\nup0 br0 dynamic`,
  },
  {
    ...ROUTED_TAP,
    trap: 1,
    what: "an address and routes that are there already are taken as they are",
    cpus: "stand",
    before: "tap0 - down none",
    deed: (world) => {
      run("ip", "link", "set", "tap0", "up");
      run("ip", "addr", "add", "169.254.0.1/32", "dev", "tap0", "scope", "link");
      run("ip", "route", "add", "192.0.2.7/32", "dev", "tap0", "proto", "static");
      run("ip", "route", "add", "2001:db8::7/128", "dev", "tap0", "proto", "static", "metric", "1");
      starts(world);
    },
    after: ROUTED,
  },
  {
    ...KERNEL_TAP,
    trap: 2,
    what: "a late frame moves what was learned, which is no drift",
    cpus: "run",
    before: LEARNING,
    deed: async (world) => {
      const guest = new TapEnd("tap0");
      try {
        await eventually("learning from the guest", () => {
          guest.send(MAC, PEER, "hello");
          return fdbOf(MAC) === "tap0 br0 dynamic" ? true : undefined;
        });
        await hearsAs(world, "up0 br0 dynamic");
        assert.deepEqual(findDrift(world.host.route, world.nics, "registered"), []);
      } finally {
        guest.close();
      }
    },
    after: `${LEARNING}\nup0 br0 dynamic`,
  },
  {
    ...KERNEL_TAP,
    trap: 3,
    what: "an entry that points elsewhere is left there by the stop",
    cpus: "run",
    before: LEARNING,
    deed: async (world) => {
      await hearsAs(world, "up0 br0 dynamic");
      stops(world, "net0 elsewhere");
    },
    after: `${QUARANTINED}\nup0 br0 dynamic`,
  },
  {
    ...KERNEL_TAP,
    trap: 4,
    what: "one that has left its bridge counts as stopped",
    cpus: "run",
    before: LEARNING,
    deed: (world) => {
      run("ip", "link", "set", "tap0", "nomaster");
      stops(world, "net0 alreadyGone");
    },
    after: "tap0 - up none learning=- flood=- mcast=- bcast=-",
  },
  {
    ...KERNEL_TAP,
    trap: 4,
    what: "one that has left its namespace counts as stopped",
    cpus: "run",
    before: LEARNING,
    deed: (world) => {
      run("ip", "link", "set", "tap0", "netns", world.elsewhere);
      stops(world, "net0 alreadyGone");
    },
    after: "no tap0",
  },
  {
    ...KERNEL_TAP,
    trap: 4,
    what: "one that is down is seen to have drifted",
    cpus: "run",
    before: LEARNING,
    deed: ({ host, nics }) => {
      run("ip", "link", "set", "tap0", "down");
      assert.equal(findDrift(host.route, nics, "registered")[0]?.problem.reason, "DEVICE_DOWN");
    },
    after: LEARNING.replace(" up ", " down "),
  },
  ...MODES.map(
    (mode): TrapRow => ({
      trap: 4,
      device: `macvtap in ${mode} mode`,
      what: "one that has left its namespace counts as stopped",
      nics: [macvtapNic(0, { mode })],
      cpus: "run",
      read: () => (deviceNames().split(" ").includes("mv0") ? linkOf("mv0") : "no mv0"),
      before: online(mode),
      deed: (world) => {
        run("ip", "link", "set", "mv0", "netns", world.elsewhere);
        stops(world, "net0 alreadyGone");
      },
      after: "no mv0",
    }),
  ),
  {
    trap: 6,
    device: "NICs of three types",
    what: "the stop tries each and reports each, two of them gone",
    nics: [tapNic(0), macvtapNic(1), { ...routedNic(2), deviceName: "rt0" }, tapNic(3)],
    cpus: "run",
    read: () => [fdbOf(MAC), fdbOf(macOf(3)), routedOf("rt0").split("\n").length].join("\n"),
    before: "tap0 br0 static sticky\ntap3 br0 static sticky\n6",
    deed: (world) => {
      run("ip", "link", "del", "tap0");
      run("ip", "link", "del", "mv1");
      stops(world, "net0 alreadyGone, net1 alreadyGone, net2 removed, net3 removed");
    },
    after: "\n\n1",
  },
  {
    trap: 6,
    device: "NICs of three types",
    what: "the start is undone on each where the last cannot be started",
    nics: [tapNic(0), macvtapNic(1), { ...routedNic(2), deviceName: "rt0" }, tapNic(3)],
    cpus: "stand",
    read: () => [tapText(), linkOf("mv1"), routedOf("rt0").split("\n").length].join("\n"),
    before: `${QUARANTINED}\nmv1 on eth0 bridge down DOWN ${macOf(1)} none\n1`,
    deed: ({ set }) => {
      run("ip", "link", "set", "tap3", "nomaster");
      const report = set.start();
      assert.equal(report.result === "failed" && report.undo.result, "stopped");
    },
    after: `${QUARANTINED}\nmv1 on eth0 bridge down DOWN ${macOf(1)} none\n1`,
  },
  ...MODES.map(
    (mode): TrapRow => ({
      trap: 7,
      device: `macvtap in ${mode} mode`,
      what: "one whose parent went down is up and does not work, until it is mended",
      nics: [macvtapNic(0, { mode })],
      cpus: "run",
      read: () => linkOf("mv0"),
      before: online(mode),
      deed: ({ host, nics }) => {
        run("ip", "link", "set", "eth0", "down");
        assert.equal(linkOf("mv0"), online(mode).replace(" UP ", " LOWERLAYERDOWN "));
        assert.equal(findDrift(host.route, nics, "registered")[0]?.problem.reason, "PARENT_DOWN");
        assert.deepEqual(mendNics(host.route, nics, new Map(), "registered"), []);
      },
      after: online(mode),
    }),
  ),
  ...MODES.map(
    (mode): TrapRow => ({
      trap: 8,
      device: `macvtap in ${mode} mode`,
      what: "the host sends nothing with the guest's address",
      nics: [macvtapNic(0, { mode })],
      cpus: "stand",
      read: () => linkOf("mv0"),
      before: online(mode).replace("up UP", "down DOWN"),
      deed: async (world) => {
        const { wire } = world;
        const heard: string[] = [];
        const listen = (): void => {
          for (const frame of wire.frames())
            heard.push(frame.toString("hex", 6, 12).replace(/..(?!$)/g, "$&:"));
        };
        starts(world);
        run("ip", "link", "add", "control", "type", "veth", "peer", "name", "control1");
        // It comes up after the guest's, and its detection of duplicates ends after the guest's would have.
        run("ip", "link", "set", "control1", "addrgenmode", "none", "up");
        run("ip", "link", "set", "control", "up");
        await eventually("the control's own address", () => {
          listen();
          const shown = run("ip", "-6", "addr", "show", "dev", "control");
          return shown.includes("fe80::") && !shown.includes("tentative") ? true : undefined;
        });
        listen();
        assert.ok(!heard.includes(MAC), heard.join(" "));
      },
      after: online(mode),
    }),
  ),
  {
    ...KERNEL_TAP,
    trap: 9,
    what: "nothing is flooded to one in quarantine; learning and flooding are back when it starts",
    cpus: "stand",
    before: QUARANTINED,
    deed: (world) => starts(world),
    after: LEARNING,
  },
  ...MODES.map(
    (mode): TrapRow => ({
      trap: 9,
      device: `macvtap in ${mode} mode`,
      what: "nothing that came in quarantine waits for the guest",
      nics: [macvtapNic(0, { mode })],
      cpus: "stand",
      read: () =>
        run("ip", "-s", "-j", "link", "show", "dev", "mv0").match(/"rx":\{"bytes":(\d+)/)?.[1] ?? "",
      before: "0",
      deed: (world) => {
        for (const to of [MAC, BROADCAST]) world.wire.send(PEER, to, "early");
        starts(world);
      },
      after: "0",
    }),
  ),
];
