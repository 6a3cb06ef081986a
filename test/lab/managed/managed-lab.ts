import { parseMacAddress } from "../../../proto/mac-address.ts";
import { type GuestImage, prepareGuestImage } from "../guest-image.ts";
import { LAB_GUEST } from "../guest-init.ts";
import { type Lab, type LabOptions, openLab } from "../lab.ts";
import { Prober } from "../probe.ts";
import { Cluster, type ClusterOptions } from "./cluster.ts";
import { ControlPlane } from "./control-plane.ts";
import { FeedObserver } from "./feed-observer.ts";
import { ManagedGuest } from "./managed-guest.ts";
import { layWires, type WiringName, wiringOf } from "./wiring.ts";

export const GUEST_ID = "web";
export const GUEST_MAC = parseMacAddress("52:54:00:5e:00:01", "guest.mac");
export const GUEST_ADDRESS = "10.78.0.100";
export const GUEST_TAP = "web0";
/** A neighbour of the first guest, under Switchover's gate as well. */
export const NEIGHBOUR_ID = "db";
export const NEIGHBOUR_MAC = parseMacAddress("52:54:00:5e:00:03", "neighbour.mac");
export const NEIGHBOUR_ADDRESS = "10.78.0.102";
/** A second guest in the same lab, for what QEMU does alone. */
export const BARE_MAC = parseMacAddress("52:54:00:5e:00:02", "bare.mac");
export const BARE_ADDRESS = "10.78.0.101";

/** A lab with Switchover running in it, an observer of its feed, and a guest image: what demo and tests begin with. */
export interface ManagedLab {
  readonly lab: Lab;
  readonly image: GuestImage;
  readonly cluster: Cluster;
  readonly controlPlane: ControlPlane;
  readonly observer: FeedObserver;
  /** Boots the lab's guest on a host. Once a lab. */
  bootGuest(host: string): Promise<ManagedGuest>;
  /** Boots a second guest, with one tap beside the first's. Once a lab. */
  bootNeighbour(host: string): Promise<ManagedGuest>;
  /** Probers in all peers, pinging the guest. They end with the lab. */
  startProbers(intervalMs?: number): Promise<readonly Prober[]>;
  close(): Promise<void>;
}

export interface ManagedLabOptions extends LabOptions {
  /** Default: one tap. */
  readonly wiring?: WiringName;
  readonly agentFlags?: readonly string[];
  /** Default: plain. */
  readonly migrationStream?: "plain" | "tls";
  readonly coordinatorFlags?: readonly string[];
  readonly cluster?: Pick<ClusterOptions, "natsServer" | "coordinatorScheduling">;
}

export async function openManagedLab(options: ManagedLabOptions = {}): Promise<ManagedLab> {
  const wiring = wiringOf(options.wiring ?? "tap", GUEST_MAC, GUEST_TAP);
  const image = await prepareGuestImage(LAB_GUEST);
  const lab = await openLab(options);
  try {
    await layWires(lab.topology, wiring);
    const cluster = await Cluster.start(lab, {
      agentFlags: options.agentFlags ?? [],
      migrationStream: options.migrationStream ?? "plain",
      coordinatorFlags: options.coordinatorFlags ?? [],
      ...options.cluster,
    });
    const observer = await FeedObserver.start(cluster.natsUrl);
    const controlPlane = new ControlPlane(cluster);
    const shared = { lab, controlPlane, observer, image };
    return {
      lab,
      image,
      cluster,
      controlPlane,
      observer,
      bootGuest: (host) =>
        ManagedGuest.boot(
          { ...shared, guestId: GUEST_ID, mac: GUEST_MAC, address: `${GUEST_ADDRESS}/24`, wiring },
          host,
        ),
      bootNeighbour: (host) =>
        ManagedGuest.boot(
          {
            ...shared,
            ...{ guestId: NEIGHBOUR_ID, mac: NEIGHBOUR_MAC, address: `${NEIGHBOUR_ADDRESS}/24` },
            wiring: wiringOf("tap", NEIGHBOUR_MAC, `${NEIGHBOUR_ID}0`),
          },
          host,
        ),
      startProbers: (intervalMs) =>
        Promise.all(
          lab.topology.peers.map((peer) =>
            Prober.start({
              peer,
              target: GUEST_ADDRESS,
              targetMac: GUEST_MAC,
              ...(intervalMs === undefined ? {} : { intervalMs }),
            }),
          ),
        ),
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
