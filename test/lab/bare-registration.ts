import { setTimeout as delay } from "node:timers/promises";
import type { BareGate } from "./bare-migration.ts";
import type { BareDevice } from "./bare-nics.ts";
import { runCommand } from "./command.ts";
import type { GuestNic } from "./guest.ts";
import { joinNetworkNamespace, type NetworkNamespace } from "./network-namespace.ts";
import type { LabHost, Topology } from "./topology.ts";
import { parseFdbShow } from "./witness/fdb-witness.ts";

/** Where a guest's devices are on one host. */
export interface Attachment {
  readonly host: LabHost;
  readonly nics: readonly GuestNic[];
}

/** Long enough to see that the peer on the destination's bridge is cut off while the source still runs. */
const EARLY_BLACK_HOLE_MS = 300;

/**
 * The known mistake: entries when the devices are made. Then a peer beside the destination asks for the guest by ARP, as
 * neighbours do now and then. The running guest's answer comes in by the uplink and takes the entry there, for good: the
 * tap does not learn. Macvtaps are up when they are made, whoever made them.
 */
export async function registerEarly(
  { host, nics }: Attachment,
  topology: Topology,
  guestAddress: string,
): Promise<void> {
  await quarantine({ host, nics });
  await host.namespace.bridge(nics.map(({ mac, tap }) => `fdb replace ${mac} dev ${tap} master static`));
  await delay(EARLY_BLACK_HOLE_MS);
  const peer = topology.peers.find((candidate) => candidate.host === host.name);
  const asking = ["-q", "-c", "1", "-w", "1", "-I", peer?.link ?? "", guestAddress];
  await peer?.namespace.run("busybox", ["arping", ...asking]);
}

/**
 * The steps of Switchover as shell-driven systems take them: a program is forked for each NIC, at STOP on the source, and
 * on the destination before `cont`. It waits for no word of the source's, which costs it nothing.
 */
export async function prepareShell(
  device: BareDevice,
  source: Attachment,
  destination: Attachment,
): Promise<BareGate> {
  if (device === "macvtap") {
    await destination.host.namespace.ip(destination.nics.map(({ tap }) => `link set ${tap} down`));
    return {
      onStop: () => forkEach(source, ({ tap }) => `ip link set ${tap} down`),
      beforeCont: () => forkEach(destination, ({ tap }) => `ip link set ${tap} up`),
    };
  }
  const register = ({ mac, tap }: GuestNic) => `fdb replace ${mac} dev ${tap} master static sticky`;
  await quarantine(source);
  await source.host.namespace.bridge(source.nics.map(register));
  await quarantine(destination);
  return {
    onStop: () => forkEach(source, ({ mac, tap }) => `bridge fdb del ${mac} dev ${tap} master`),
    beforeCont: () => forkEach(destination, (nic) => `bridge ${register(nic)}`),
  };
}

/** Makes the guest reachable by learning again, so that the next crossing starts from a sound network. */
export async function returnToLearning({ host, nics }: Attachment, stale: readonly LabHost[]): Promise<void> {
  for (const { namespace, bridge } of [host, ...stale]) {
    const text = await namespace.run("bridge", ["-j", "fdb", "show", "br", bridge]);
    const entries = parseFdbShow(text, "", 0).filter(
      ({ mac, state }) => state === "static" && nics.some((nic) => nic.mac === mac),
    );
    await namespace.bridge(entries.map(({ mac, dev }) => `fdb delete ${mac} dev ${dev} master`));
  }
  await host.namespace.bridge(nics.map(({ tap }) => `link set dev ${tap} learning on flood on`));
}

function quarantine({ host, nics }: Attachment): Promise<void> {
  return host.namespace.bridge(nics.map(({ tap }) => `link set dev ${tap} learning off flood off`));
}

/** One script, which forks a program a NIC; it is started in the host's namespace, at no cost of its own for that. */
function forkEach({ host, nics }: Attachment, command: (nic: GuestNic) => string): Promise<void> {
  const script = nics.map(command).join("\n");
  return within(host.namespace, () => runCommand("sh", ["-ec", script])).then(() => undefined);
}

function within<T>(namespace: NetworkNamespace, start: () => T): T {
  const leave = joinNetworkNamespace(namespace);
  try {
    return start();
  } finally {
    leave();
  }
}
