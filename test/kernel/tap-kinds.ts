import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { tapNic } from "./guest-nics.ts";
import { fdbText, mdbText, portOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { exists, type KindOfNic, textOf } from "./kind-of-nic.ts";
import { addOverlay, addVxlan } from "./overlay.ts";
import { tapDrifts } from "./tap-drifts.ts";
import { addBridge, addUplink } from "./tap-end.ts";
import { optionDrifts } from "./tap-option-drifts.ts";
import { tapTexts } from "./tap-texts.ts";

/** A tap on br0, which has an uplink and whatever else the options need; br1 is beside it. */
export function tapKind(name: string, change: Partial<TapOnBridgeNic>): KindOfNic {
  const nic = tapNic(0, change);
  const texts = tapTexts(nic);
  const bridgeOptions = nic.multicastGroups === undefined ? [] : ["mcast_snooping", "1"];
  const addBridgeOfNic = (): void => {
    addBridge("br0", ...bridgeOptions);
    for (const port of ["up0", "vx0"]) if (exists(port)) run("ip", "link", "set", port, "master", "br0");
  };

  return {
    name,
    nic,
    shown: {
      prepared: texts.quarantined(),
      registered: texts.registered(),
      released: "no tap0",
    },
    open(elsewhere) {
      addBridgeOfNic();
      addBridge("br1");
      const uplink = addUplink("up0", "br0");
      if (nic.vxlan !== undefined) addOverlay();
      return {
        read: () =>
          textOf(
            exists("tap0") ? portOf("tap0") : "no tap0",
            fdbText(...texts.macs),
            nic.multicastGroups === undefined ? "" : mdbText("tap0"),
          ),
        repair() {
          if (!exists("br0")) addBridgeOfNic();
          if (exists("tap0") && portOf("tap0").startsWith("tap0 br1"))
            run("ip", "link", "set", "tap0", "nomaster");
          if (nic.vxlan !== undefined && !exists("vx0")) addVxlan();
          for (const line of fdbText(...texts.macs)
            .split("\n")
            .filter(Boolean))
            removeEntryOfOthers(line);
        },
        close: () => uplink.close(),
        drifts: [
          ...tapDrifts({ nic, texts, uplink, elsewhere, addBridgeOfNic }),
          ...optionDrifts(nic, texts),
        ],
      };
    },
  };
}

/** One that leads to another port, or to another VTEP: a line of `bridge fdb show`. */
function removeEntryOfOthers(line: string): void {
  const [mac = "", , device = "", ...where] = line.replace(/ (static|sticky)\b/g, "").split(" ");
  if (device !== "tap0")
    run("bridge", "fdb", "del", mac, "dev", device, ...where.filter((word) => word !== "br0"));
}
