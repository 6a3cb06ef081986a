import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { run } from "./in-network-namespace.ts";
import { type Drift, EVERY_DEED } from "./kind-of-nic.ts";
import { SOURCE_VTEP, VTEP } from "./overlay.ts";
import type { TapTexts } from "./tap-texts.ts";

/** What others can do to what the NIC's definition asks for beside its first address. */
export function optionDrifts(nic: TapOnBridgeNic, texts: TapTexts): readonly Drift[] {
  return [
    ...(nic.macTableManager === "switchover" && texts.macs.length > 1 ? addressDrifts(texts) : []),
    ...(nic.multicastGroups === undefined ? [] : groupDrifts(nic.multicastGroups, texts)),
    ...(nic.vxlan === undefined ? [] : overlayDrifts(texts)),
  ];
}

function addressDrifts(texts: TapTexts): readonly Drift[] {
  const mac = texts.macs.at(-1) ?? "";
  return [
    {
      name: "the entry of its last address removed",
      of: "registered",
      happen: () => void run("bridge", "fdb", "del", mac, "dev", "tap0", "master"),
      shown: {
        registered: texts.registered({
          entries: texts.entries.filter((entry) => !entry.startsWith(`${mac} dev tap0 `)),
        }),
      },
      said: { registered: "NOT_REGISTERED" },
      endedBy: EVERY_DEED,
    },
  ];
}

function groupDrifts(groups: readonly string[], texts: TapTexts): readonly Drift[] {
  const group = groups.at(-1) ?? "";
  const membership = ["dev", "br0", "port", "tap0", "grp", group, "permanent"];
  return [
    {
      name: "taken out of its last group",
      of: "registered",
      happen: () => void run("bridge", "mdb", "del", ...membership),
      shown: {
        registered: texts.registered({
          memberships: texts.memberships.filter((line) => line !== membership.join(" ")),
        }),
      },
      said: { registered: "NOT_REGISTERED" },
      endedBy: EVERY_DEED,
    },
    {
      name: "put into its last group",
      of: "prepared",
      happen: () => void run("bridge", "mdb", "add", ...membership),
      shown: { prepared: texts.quarantined(membership.join(" ")) },
      said: { prepared: "UNWANTED_REGISTRATION" },
      endedBy: EVERY_DEED,
    },
  ];
}

function overlayDrifts(texts: TapTexts): readonly Drift[] {
  const [mac = ""] = texts.macs;
  const ours = `${mac} dev vx0 dst ${VTEP} self static`;
  const theirs = ours.replace(VTEP, SOURCE_VTEP);
  const withoutOurs = texts.entries.filter((line) => line !== ours);
  const pointTo = (vtep: string) =>
    run("bridge", "fdb", "replace", mac, "dev", "vx0", "dst", vtep, "self", "static");
  return [
    {
      name: "its VXLAN entry removed",
      of: "registered",
      happen: () => void run("bridge", "fdb", "del", mac, "dev", "vx0", "dst", VTEP, "self"),
      shown: { registered: texts.registered({ entries: withoutOurs }) },
      said: { registered: "NOT_REGISTERED" },
      endedBy: EVERY_DEED,
    },
    {
      name: "its VXLAN entry pointed to the source's VTEP",
      of: "registered",
      happen: () => void pointTo(SOURCE_VTEP),
      shown: {
        prepared: texts.quarantined(theirs),
        registered: texts.registered({ entries: [...withoutOurs, theirs] }),
        released: `no tap0\n${theirs}`,
      },
      said: { registered: "REGISTERED_ELSEWHERE" },
      endedBy: ["start", "mendRunning"],
    },
    {
      name: "its address behind this host's VTEP",
      of: "prepared",
      happen: () => void pointTo(VTEP),
      shown: { prepared: texts.quarantined(ours) },
      said: { prepared: "UNWANTED_REGISTRATION" },
      endedBy: EVERY_DEED,
    },
    {
      name: "its VXLAN device deleted",
      of: "registered",
      happen: () => void run("ip", "link", "del", "vx0"),
      shown: {
        prepared: texts.quarantined(),
        registered: texts.registered({
          entries: texts.entries.filter((line) => !line.includes(" dev vx0 ")),
        }),
        released: "no tap0",
      },
      said: { registered: "VXLAN_MISSING" },
      endedBy: [],
      fails: ["prepare", "start"],
    },
  ];
}
