import { prepareGuestImage } from "../guest-image.ts";
import { LAB_GUEST } from "../guest-init.ts";
import type { Lab } from "../lab.ts";
import { openLab } from "../lab.ts";
import { Cluster } from "../managed/cluster.ts";
import { ControlPlane } from "../managed/control-plane.ts";
import { FeedObserver } from "../managed/feed-observer.ts";
import { GUEST_ADDRESS, GUEST_ID, GUEST_MAC, GUEST_TAP } from "../managed/managed-lab.ts";
import { wiringOf } from "../managed/wiring.ts";
import { Prober } from "../probe.ts";
import { FaultGuest } from "./fault-guest.ts";
import { JournalDisk } from "./journal-disk.ts";
import { LineHold } from "./line-hold.ts";

const PROBE_INTERVAL_MS = 10;

/** A lab whose every process can be hit by itself, at a chosen line of either agent's gate. */
export interface FaultLab {
  readonly lab: Lab;
  readonly cluster: Cluster;
  readonly controlPlane: ControlPlane;
  readonly observer: FeedObserver;
  readonly guest: FaultGuest;
  readonly probers: readonly Prober[];
  /** By host. */
  readonly holds: ReadonlyMap<string, LineHold>;
  /** By host. */
  readonly disks: ReadonlyMap<string, JournalDisk>;
  close(): Promise<void>;
}

/** Builds the lab and boots its guest on `ha`. */
export async function openFaultLab(): Promise<FaultLab> {
  const image = await prepareGuestImage(LAB_GUEST);
  const lab = await openLab();
  try {
    const hosts = lab.topology.hosts.map(({ name }) => name);
    const disks = new Map<string, JournalDisk>();
    const holds = new Map<string, LineHold>();
    for (const host of hosts) {
      disks.set(host, await JournalDisk.mount(lab, host));
      holds.set(host, await LineHold.create(lab.directory, host));
    }
    const cluster = await Cluster.start(lab, {
      natsServer: "own",
      agentProgram: (host) => required(holds, host).program,
    });
    const observer = await FeedObserver.start(cluster.natsUrl);
    const controlPlane = new ControlPlane(cluster);
    const guest = new FaultGuest({
      ...{
        lab,
        controlPlane,
        image,
        guestId: GUEST_ID,
        mac: GUEST_MAC,
        wiring: wiringOf("tap", GUEST_MAC, GUEST_TAP),
      },
      address: `${GUEST_ADDRESS}/24`,
    });
    await guest.boot("ha");
    const probing = { target: GUEST_ADDRESS, targetMac: GUEST_MAC, intervalMs: PROBE_INTERVAL_MS };
    const probers = await Promise.all(lab.topology.peers.map((peer) => Prober.start({ ...probing, peer })));
    return {
      ...{ lab, cluster, controlPlane, observer, guest, probers, holds, disks },
      close: async () => {
        await observer.close();
        await lab.close();
      },
    };
  } catch (thrown) {
    await lab.close();
    throw thrown;
  }
}

export function required<T>(map: ReadonlyMap<string, T>, host: string): T {
  const found = map.get(host);
  if (found === undefined) throw new Error(`The lab has no host ${host}.`);
  return found;
}
