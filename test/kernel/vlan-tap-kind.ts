import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tapNic } from "./guest-nics.ts";
import { portOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { type Drift, EVERY_DEED, exists, type KindOfNic, textOf } from "./kind-of-nic.ts";
import { addBridge, addUplink } from "./tap-end.ts";
import { QUARANTINE } from "./tap-texts.ts";

const NIC = tapNic(0, { vlans: [7, 9] });
const RUNNING = QUARANTINE.replace("mcast=off bcast=off", "mcast=on bcast=on");
const OFF_ITS_BRIDGE = "tap0 - up none learning=- flood=- mcast=- bcast=-";
const IN_BOTH = "in 7 9";

/** A tap in VLANs 7 and 9 of br0, which filters and has an uplink in them. */
export const VLAN_TAP_KIND: KindOfNic = {
  name: "a tap in VLANs of a bridge that filters",
  nic: NIC,
  shown: { prepared: standing(IN_BOTH), registered: running(IN_BOTH), released: "no tap0" },
  open() {
    const folder = mkdtempSync(join(tmpdir(), "switchover-vlans-"));
    const questions = join(folder, "questions");
    writeFileSync(questions, "vlan show\nfdb show\n");
    addFilteringBridge();
    const uplink = addUplink("up0", "br0");
    bringUplinkIn();
    const undo: (() => void)[] = [];
    return {
      read: () => {
        const [vlans = "[]", entries = "[]"] = run("bridge", "-j", "-batch", questions).trim().split("\n");
        return textOf(exists("tap0") ? portOf("tap0") : "no tap0", vlansIn(vlans), entriesIn(entries));
      },
      repair: () => {
        for (const back of undo.splice(0)) back();
      },
      close: () => {
        uplink.close();
        rmSync(folder, { recursive: true });
      },
      drifts: driftsOf((back) => void undo.push(back)),
    };
  },
};

/** What others can do to the VLANs of a port and to its entries there. */
function driftsOf(undoLater: (back: () => void) => void): readonly Drift[] {
  const stolen = `${NIC.macAddress} up0 vlan 9 static`;
  /** A tap that lives on without its bridge. */
  const portOfNothing: Omit<Drift, "name" | "happen"> = {
    of: "registered",
    shown: { prepared: OFF_ITS_BRIDGE, registered: OFF_ITS_BRIDGE },
    said: { registered: "NOT_A_PORT" },
    endedBy: ["prepare", "mendRunning", "release"],
    fails: ["start"],
    isAstray: true,
  };
  const notOnPort: Pick<Drift, "said" | "endedBy" | "fails"> = {
    said: { prepared: "VLAN_NOT_ON_PORT", registered: "VLAN_NOT_ON_PORT" },
    endedBy: ["prepare", "mendRunning", "mendStanding", "release"],
    fails: ["start"],
  };
  return [
    {
      name: "taken out of one of its VLANs",
      of: "registered",
      happen: () => takeOutOf("9"),
      shown: { prepared: standing("in 7"), registered: running("in 7") },
      ...notOnPort,
    },
    {
      name: "taken out of all of its VLANs",
      of: "registered",
      happen: () => takeOutOf("7-9"),
      shown: { prepared: standing(""), registered: running("") },
      ...notOnPort,
    },
    {
      name: "taken out of one of its VLANs",
      of: "prepared",
      happen: () => takeOutOf("7"),
      shown: { prepared: standing("in 9") },
      ...notOnPort,
    },
    {
      name: "its entry in one VLAN removed",
      of: "registered",
      happen: () => void run("bridge", "fdb", "del", NIC.macAddress, "dev", "tap0", "vlan", "7", "master"),
      shown: { registered: running(IN_BOTH, entryIn(9)) },
      said: { registered: "NOT_REGISTERED" },
      endedBy: EVERY_DEED,
    },
    {
      name: "its entry in one VLAN stolen by the uplink",
      of: "registered",
      happen: () => {
        putEntry("up0");
        undoLater(() => removeEntry("up0"));
      },
      shown: {
        prepared: standing(IN_BOTH, stolen),
        registered: running(IN_BOTH, entryIn(7), stolen),
        released: `no tap0\n${stolen}`,
      },
      said: { registered: "REGISTERED_ELSEWHERE" },
      endedBy: ["start", "mendRunning"],
    },
    {
      name: "registered by others in one VLAN",
      of: "prepared",
      happen: () => putEntry("tap0"),
      shown: { prepared: standing(IN_BOTH, `${NIC.macAddress} tap0 vlan 9 static`) },
      said: { prepared: "UNWANTED_REGISTRATION" },
      endedBy: EVERY_DEED,
    },
    {
      name: "its bridge made to filter no more",
      of: "registered",
      happen: () => {
        letFilter("0");
        undoLater(() => letFilter("1"));
      },
      shown: {},
      said: { prepared: "BRIDGE_NOT_VLAN_AWARE", registered: "BRIDGE_NOT_VLAN_AWARE" },
      endedBy: [],
      fails: ["prepare", "start"],
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
        addFilteringBridge();
        bringUplinkIn();
      },
      ...portOfNothing,
    },
  ];
}

function addFilteringBridge(): void {
  addBridge("br0", "vlan_filtering", "1");
}

function bringUplinkIn(): void {
  run("ip", "link", "set", "up0", "master", "br0");
  run("bridge", "vlan", "add", "dev", "up0", "vid", "7-9");
}

function letFilter(state: "0" | "1"): void {
  run("ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", state);
}

function takeOutOf(vlans: string): void {
  run("bridge", "vlan", "del", "dev", "tap0", "vid", vlans);
}

function putEntry(port: string): void {
  run("bridge", "fdb", "replace", NIC.macAddress, "dev", port, "vlan", "9", "master", "static");
}

function removeEntry(port: string): void {
  try {
    run("bridge", "fdb", "del", NIC.macAddress, "dev", port, "vlan", "9", "master");
  } catch {
    // The guest has it again, or its bridge is another one.
  }
}

function entryIn(vlan: number): string {
  return `${NIC.macAddress} tap0 vlan ${vlan} static sticky`;
}

/** What is read of a tap whose guest stands. */
function standing(vlans: string, ...entries: readonly string[]): string {
  return textOf(`tap0 br0 up none ${QUARANTINE}`, vlans, ...entries);
}

/** What is read of a tap whose guest runs. */
function running(vlans: string, ...entries: readonly string[]): string {
  const held = entries.length === 0 ? [entryIn(7), entryIn(9)] : entries;
  return textOf(`tap0 br0 up none ${RUNNING}`, vlans, ...held.toSorted());
}

/** `in 7 9`, of `bridge -j vlan show`. */
function vlansIn(json: string): string {
  const ports = JSON.parse(json) as { ifname: string; vlans: { vlan: number; vlanEnd?: number }[] }[];
  const port = ports.find(({ ifname }) => ifname === "tap0");
  return port === undefined ? "" : `in ${port.vlans.map(({ vlan }) => vlan).join(" ")}`;
}

/** `52:54:00:00:00:01 tap0 vlan 7 static sticky` a line, of `bridge -j fdb show`. */
function entriesIn(json: string): string {
  const entries = JSON.parse(json) as {
    mac: string;
    ifname: string;
    vlan?: number;
    state: string;
    flags: string[];
  }[];
  return entries
    .filter(({ mac }) => mac === NIC.macAddress)
    .map(({ flags, ifname, mac, state, vlan }) => [mac, ifname, `vlan ${vlan}`, state, ...flags].join(" "))
    .sort()
    .join("\n");
}
