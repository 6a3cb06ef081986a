import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { eventually, fdbText } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { type Drift, EVERY_DEED, textOf } from "./kind-of-nic.ts";
import type { TapEnd } from "./tap-end.ts";
import { DEFAULTS, QUARANTINE, type TapTexts } from "./tap-texts.ts";

const BROADCAST = "ff:ff:ff:ff:ff:ff";
const OFF_ITS_BRIDGE = "tap0 - up none learning=- flood=- mcast=- bcast=-";

interface TapWorld {
  readonly nic: TapOnBridgeNic;
  readonly texts: TapTexts;
  readonly uplink: TapEnd;
  readonly elsewhere: string;
  readonly addBridgeOfNic: () => void;
}

/** What others can do to any tap on a bridge. */
export function tapDrifts({ nic, texts, uplink, elsewhere, addBridgeOfNic }: TapWorld): readonly Drift[] {
  const [mac = ""] = texts.macs;
  const isManaged = nic.macTableManager === "switchover";
  const withoutFirst = texts.entries.filter((line) => !line.startsWith(`${mac} dev tap0 `));
  const ofOverlay = texts.entries.filter((line) => line.includes(" dev vx0 "));
  const onTap = `${mac} dev tap0 master br0 static`;
  const stolen = `${mac} dev up0 master br0 static`;
  const learned = `${mac} dev up0 master br0`;
  const missing = { prepared: "no tap0", registered: "no tap0", released: "no tap0" };
  const putEntry = (port: string) => run("bridge", "fdb", "replace", mac, "dev", port, "master", "static");
  const everyDeedBut = (...deeds: readonly string[]) => EVERY_DEED.filter((deed) => !deeds.includes(deed));
  /** Of an address that another port has. */
  const elsewhereOnBridge = (line: string): Pick<Drift, "shown" | "endedBy"> => ({
    shown: {
      prepared: texts.quarantined(line),
      registered: texts.registered({ entries: [...withoutFirst, line] }),
      released: `no tap0\n${line}`,
    },
    endedBy: isManaged ? ["start", "mendRunning"] : [],
  });
  /** A tap that lives on without its bridge. */
  const portOfNothing: Omit<Drift, "name" | "happen"> = {
    of: "registered",
    shown: {
      prepared: OFF_ITS_BRIDGE,
      registered: textOf(OFF_ITS_BRIDGE, ...ofOverlay),
    },
    said: { registered: "NOT_A_PORT" },
    endedBy: ["prepare", "mendRunning", "release"],
    fails: ["start"],
    isAstray: true,
  };

  return [
    {
      name: "its entry stolen by the uplink",
      of: "registered",
      happen: () => void putEntry("up0"),
      ...elsewhereOnBridge(stolen),
      said: isManaged ? { registered: "REGISTERED_ELSEWHERE" } : {},
    },
    {
      name: "its address learned on the uplink",
      of: "prepared",
      happen: async () => {
        uplink.send(mac, BROADCAST, "from the source");
        await eventually("learning", () => (fdbText(mac).split("\n").includes(learned) ? true : undefined));
      },
      ...elsewhereOnBridge(learned),
      said: {},
    },
    {
      name: "registered by others in another way",
      of: "registered",
      happen: () => void putEntry("tap0"),
      shown: { registered: texts.registered({ entries: [...withoutFirst, onTap] }) },
      said: { registered: isManaged ? "REGISTRATION_DIFFERS" : "UNWANTED_REGISTRATION" },
      endedBy: EVERY_DEED,
    },
    {
      name: "registered by others",
      of: "prepared",
      happen: () => void putEntry("tap0"),
      shown: { prepared: texts.quarantined(onTap) },
      said: { prepared: "UNWANTED_REGISTRATION" },
      endedBy: EVERY_DEED,
    },
    ...(isManaged
      ? ([
          {
            name: "its bridge flushed",
            of: "registered",
            happen: () => void run("bridge", "fdb", "flush", "dev", "br0"),
            shown: { registered: texts.registered({ entries: ofOverlay }) },
            said: { registered: "NOT_REGISTERED" },
            endedBy: EVERY_DEED,
          },
        ] as const)
      : []),
    {
      name: "its port's flags changed",
      of: "registered",
      happen: () => void run("bridge", "link", "set", "dev", "tap0", "learning", "on", "bcast_flood", "off"),
      shown: {
        registered: texts.registered({
          port: `tap0 br0 up none ${texts.running.replace("learning=off", "learning=on").replace("bcast=on", "bcast=off")}`,
        }),
      },
      said: { registered: "PORT_FLAGS_DIFFER" },
      endedBy: EVERY_DEED,
    },
    {
      name: "its port made to flood",
      of: "prepared",
      happen: () => void run("bridge", "link", "set", "dev", "tap0", "flood", "on"),
      shown: { prepared: `tap0 br0 up none ${QUARANTINE.replace("flood=off", "flood=on")}` },
      said: { prepared: "PORT_FLAGS_DIFFER" },
      endedBy: EVERY_DEED,
    },
    {
      name: "taken down",
      of: "registered",
      happen: () => void run("ip", "link", "set", "tap0", "down"),
      shown: {
        prepared: `tap0 br0 down none ${QUARANTINE}`,
        registered: texts.registered({ port: `tap0 br0 down none ${texts.running}` }),
      },
      said: { prepared: "DEVICE_DOWN", registered: "DEVICE_DOWN" },
      endedBy: everyDeedBut("start", "stop"),
      fails: ["start"],
    },
    {
      name: "taken off its bridge",
      happen: () => void run("ip", "link", "set", "tap0", "nomaster"),
      ...portOfNothing,
    },
    {
      name: "its bridge made anew",
      happen: () => {
        run("ip", "link", "del", "br0");
        addBridgeOfNic();
      },
      ...portOfNothing,
    },
    {
      name: "its bridge deleted",
      of: "registered",
      happen: () => void run("ip", "link", "del", "br0"),
      shown: {
        prepared: OFF_ITS_BRIDGE,
        registered: textOf(OFF_ITS_BRIDGE, ...ofOverlay),
        released: "no tap0",
      },
      said: { registered: "BRIDGE_MISSING" },
      endedBy: [],
      fails: ["prepare", "start"],
      isAstray: true,
    },
    {
      name: "moved to another bridge",
      of: "registered",
      happen: () => void run("ip", "link", "set", "tap0", "master", "br1"),
      shown: {
        prepared: `tap0 br1 up none ${QUARANTINE}`,
        registered: textOf(`tap0 br1 up none ${DEFAULTS}`, ...ofOverlay),
      },
      said: { registered: "NOT_A_PORT" },
      endedBy: ["release"],
      fails: ["prepare", "start"],
      isAstray: true,
    },
    {
      name: "deleted",
      of: "registered",
      happen: () => void run("ip", "link", "del", "tap0"),
      shown: { ...missing, registered: textOf("no tap0", ...ofOverlay) },
      said: { registered: "DEVICE_MISSING" },
      endedBy: ["prepare", "release"],
      fails: ["start"],
      isAstray: true,
    },
    {
      name: "moved to another namespace",
      of: "registered",
      happen: () => {
        run("ip", "link", "set", "tap0", "netns", elsewhere);
        run("ip", "-n", elsewhere, "link", "del", "tap0");
      },
      shown: { ...missing, registered: textOf("no tap0", ...ofOverlay) },
      said: { registered: "DEVICE_MISSING" },
      endedBy: ["prepare", "release"],
      fails: ["start"],
      isAstray: true,
    },
  ];
}
