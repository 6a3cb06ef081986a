import type { MacvtapMode } from "../../agent/netlink/link.ts";
import { macOf, macvtapNic } from "./guest-nics.ts";
import { linkOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { type Drift, EVERY_DEED, exists, type KindOfNic, type Shown } from "./kind-of-nic.ts";

const MAC = macOf(0);
const OWN = "02:00:00:00:00:e0";
const PARENT_UP = `eth0 up UP ${OWN} none`;
const NO_PARENT = "no mv0\nno eth0";

/** A macvtap on eth0, the end of a pair whose far end is up. */
export function macvtapKind(name: string, mode: MacvtapMode): KindOfNic {
  const isExclusive = mode === "passthrough";
  const word = isExclusive ? "passthru" : mode;
  const parentUp = isExclusive ? PARENT_UP.replace(OWN, MAC) : PARENT_UP;
  const parentDown = parentUp.replace("up UP", "down DOWN");
  const shown = {
    prepared: `mv0 on eth0 ${word} down DOWN ${MAC} none\n${isExclusive ? parentDown : parentUp}`,
    registered: `mv0 on eth0 ${word} up UP ${MAC} none\n${parentUp}`,
    released: `no mv0\n${PARENT_UP}`,
  };
  return {
    name,
    nic: macvtapNic(0, { mode }),
    shown,
    open: (elsewhere) => {
      addParent();
      return {
        read: () =>
          ["mv0", "eth0"].map((device) => (exists(device) ? shownOf(device) : `no ${device}`)).join("\n"),
        repair() {
          if (exists("rival")) run("ip", "link", "del", "rival");
          if (!exists("eth0")) addParent();
          if (exists("mv0") && !isExclusive) run("ip", "link", "set", "mv0", "type", "macvtap", "mode", mode);
          if (!isExclusive) run("ip", "link", "set", "eth0", "up");
        },
        close: () => {},
        drifts: [
          ...drifts(shown, parentDown, isExclusive, elsewhere),
          ...(isExclusive ? [] : sharedDrifts(shown, word)),
        ],
      };
    },
  };
}

function addParent(): void {
  run("ip", "link", "add", "eth0", "address", OWN, "type", "veth", "peer", "name", "far0");
  run("ip", "link", "set", "eth0", "addrgenmode", "none", "up");
  run("ip", "link", "set", "far0", "up");
}

/** Without the further name of a parent that was raised with a macvtap, which is there as long as one is on it. */
function shownOf(device: string): string {
  return linkOf(device).replace(/ switchover-raises-\d+$/, "");
}

/** What others can do to a macvtap in any mode. */
function drifts(
  shown: Shown & { readonly prepared: string; readonly registered: string; readonly released: string },
  parentDown: string,
  isExclusive: boolean,
  elsewhere: string,
): readonly Drift[] {
  const change = (...args: readonly string[]): void => void run("ip", "link", "set", ...args);
  const withParentDown = (text: string): string => text.replace(/^eth0 .*$/m, parentDown);
  const gone: Pick<Drift, "said" | "endedBy" | "fails" | "isAstray"> = {
    said: { registered: "DEVICE_MISSING" },
    endedBy: ["prepare", "release"],
    fails: ["start"],
    isAstray: true,
  };
  const withoutIt = {
    registered: shown.released,
    // It has its own address again, and is the guest's only by what is armed.
    prepared: isExclusive ? [shown.released.replace("up UP", "down DOWN"), shown.released] : shown.released,
    released: shown.released,
  };
  return [
    {
      name: "its parent taken down",
      of: "registered",
      happen: () => change("eth0", "down"),
      shown: {
        registered: withParentDown(shown.registered.replace("up UP", "up LOWERLAYERDOWN")),
        ...(isExclusive
          ? {}
          : { prepared: withParentDown(shown.prepared), released: withParentDown(shown.released) }),
      },
      said: { registered: "PARENT_DOWN" },
      endedBy: isExclusive ? EVERY_DEED : ["start", "mendRunning"],
    },
    {
      name: "taken down",
      of: "registered",
      happen: () => change("mv0", "down"),
      shown: { registered: shown.registered.replace("up UP", "down DOWN") },
      said: { registered: isExclusive ? "DEVICE_DOWN" : "QUARANTINED" },
      endedBy: EVERY_DEED,
    },
    {
      name: "taken up",
      of: "prepared",
      happen: () => {
        change("eth0", "up");
        change("mv0", "up");
      },
      shown: { prepared: shown.registered },
      said: { prepared: "REGISTERED" },
      endedBy: EVERY_DEED,
    },
    {
      name: "deleted",
      of: "registered",
      happen: () => void run("ip", "link", "del", "mv0"),
      shown: withoutIt,
      ...gone,
    },
    {
      name: "moved to another namespace",
      of: "registered",
      happen: () => {
        change("mv0", "netns", elsewhere);
        run("ip", "-n", elsewhere, "link", "del", "mv0");
      },
      shown: withoutIt,
      ...gone,
    },
    {
      name: "deleted with its parent",
      of: "registered",
      happen: () => void run("ip", "link", "del", "eth0"),
      shown: { prepared: NO_PARENT, registered: NO_PARENT, released: NO_PARENT },
      said: { registered: "PARENT_MISSING" },
      endedBy: [],
      fails: ["prepare", "start"],
      isAstray: true,
    },
  ];
}

/** What others can do where the parent may have other macvtaps. */
function sharedDrifts(
  shown: Shown & { readonly prepared: string; readonly registered: string },
  word: string,
): readonly Drift[] {
  const other = word === "private" ? "vepa" : "private";
  const inOtherMode = (text: string): string => text.replace(` ${word} `, ` ${other} `);
  const withAddress = (text: string): string => text.replace(MAC, macOf(7));
  return [
    {
      name: "its mode changed",
      of: "registered",
      happen: () => void run("ip", "link", "set", "mv0", "type", "macvtap", "mode", other),
      shown: { registered: inOtherMode(shown.registered), prepared: inOtherMode(shown.prepared) },
      said: { registered: "OTHER_MODE" },
      endedBy: ["release"],
      fails: ["prepare", "start"],
      isAstray: true,
    },
    {
      name: "its address changed",
      of: "registered",
      happen: () => void run("ip", "link", "set", "mv0", "address", macOf(7)),
      shown: { registered: withAddress(shown.registered), prepared: withAddress(shown.prepared) },
      said: { registered: "ADDRESS_DIFFERS", prepared: "ADDRESS_DIFFERS" },
      endedBy: ["prepare", "mendRunning", "mendStanding", "release"],
      fails: ["start"],
    },
    {
      name: "another of its address taken up beside it",
      of: "prepared",
      happen: () => {
        run("ip", "link", "add", "rival", "link", "eth0", "address", MAC, "type", "macvtap");
        run("ip", "link", "set", "rival", "addrgenmode", "none", "up");
      },
      shown: {},
      said: { registered: "QUARANTINED" },
      endedBy: [],
      fails: ["prepare", "start", "mendRunning"],
    },
  ];
}
