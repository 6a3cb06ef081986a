import { invalidArgument, SwitchoverError } from "../../proto/error.ts";
import { type MacAddress, parseMacAddress } from "../../proto/mac-address.ts";
import type { CleanupRegistry } from "./cleanup.ts";
import { NetworkNamespace } from "./network-namespace.ts";

/**
 * The lab's network: two or more hosts on one layer-2 fabric, and a control network of their own.
 *
 *        pa ---- br0 (ha) ---uplink--- br0 (sw) ---uplink--- br0 (hb) ---- pb       10.78.0.0/24, guests and peers
 *                 |                                           |
 *                tap                                         tap                    made by the agent or by the test
 *
 *                ha ---ctl0--- br0 (ctl, 10.77.0.1) ---ctl0--- hb                   10.77.0.0/24, gRPC, NATS, migration
 *
 * Each box is a network namespace. Fabric and control are cut separately, because they fail separately.
 */
export interface TopologyOptions {
  /** Namespaces are named `<prefix>-<host>`; must be free. */
  readonly prefix: string;
  /** Two to eight short names beginning with `h`; host `ha` gets the peer `pa`. */
  readonly hosts: readonly string[];
}

export interface LabHost {
  readonly name: string;
  /** Position in `hosts`, from 0. */
  readonly index: number;
  readonly namespace: NetworkNamespace;
  readonly controlAddress: string;
  readonly bridge: "br0";
  /** The bridge's port towards the fabric. */
  readonly uplink: "uplink";
}

export interface LabPeer {
  readonly name: string;
  readonly host: string;
  readonly namespace: NetworkNamespace;
  readonly link: "eth0";
  readonly address: string;
  readonly mac: MacAddress;
}

const HOST_NAME = /^h[a-z0-9]{1,5}$/;
const QUIET = ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"];
const BRIDGE = "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0";

export class Topology {
  /** Where coordinators and the NATS server listen; an address of the namespace `control`. */
  readonly controlAddress = "10.77.0.1";
  readonly fabric: NetworkNamespace;
  readonly control: NetworkNamespace;
  readonly hosts: readonly LabHost[];
  readonly peers: readonly LabPeer[];

  constructor(
    fabric: NetworkNamespace,
    control: NetworkNamespace,
    hosts: readonly LabHost[],
    peers: readonly LabPeer[],
  ) {
    this.fabric = fabric;
    this.control = control;
    this.hosts = hosts;
    this.peers = peers;
  }

  host(name: string): LabHost {
    const host = this.hosts.find((candidate) => candidate.name === name);
    if (host === undefined) throw notFound("host", name);
    return host;
  }

  peer(name: string): LabPeer {
    const peer = this.peers.find((candidate) => candidate.name === name);
    if (peer === undefined) throw notFound("peer", name);
    return peer;
  }

  /** Forgets what every bridge has learned; static and permanent entries stay (`fdb_flush`). */
  async flushDynamicEntries(): Promise<void> {
    const bridged = [this.fabric, ...this.hosts.map((host) => host.namespace)];
    await Promise.all(bridged.map((namespace) => namespace.ip(["link set br0 type bridge fdb_flush"])));
  }

  /** Takes the carrier from the host's control link, as a pulled cable does. Idempotent. */
  cutControl(host: string): Promise<void> {
    return this.control.ip([`link set to-${this.host(host).name} down`]);
  }

  restoreControl(host: string): Promise<void> {
    return this.control.ip([`link set to-${this.host(host).name} up`]);
  }

  /** Takes the carrier from the host's uplink: bridges on both ends forget what they learned there. Idempotent. */
  cutFabric(host: string): Promise<void> {
    return this.fabric.ip([`link set to-${this.host(host).name} down`]);
  }

  restoreFabric(host: string): Promise<void> {
    return this.fabric.ip([`link set to-${this.host(host).name} up`]);
  }
}

/** Builds the network; everything that it made is registered in `cleanups`, also when it fails half-way. */
export async function createTopology(options: TopologyOptions, cleanups: CleanupRegistry): Promise<Topology> {
  checkOptions(options);
  const create = (name: string) => NetworkNamespace.create(`${options.prefix}-${name}`, cleanups);
  const fabric = await create("sw");
  const control = await create("ctl");
  await Promise.all([fabric, control].map((namespace) => namespace.run("sysctl", ["-q", "-w", ...QUIET])));
  await fabric.ip([BRIDGE, "link set br0 up"]);
  await control.ip([BRIDGE, "address add 10.77.0.1/24 dev br0", "link set br0 up"]);
  const hosts: LabHost[] = [];
  const peers: LabPeer[] = [];
  for (const [index, name] of options.hosts.entries()) {
    const host: LabHost = {
      name,
      index,
      namespace: await create(name),
      controlAddress: `10.77.0.${11 + index}`,
      bridge: "br0",
      uplink: "uplink",
    };
    const peerName = `p${name.slice(1)}`;
    const peer: LabPeer = {
      name: peerName,
      host: name,
      namespace: await create(peerName),
      link: "eth0",
      address: `10.78.0.${1 + index}`,
      mac: parseMacAddress(`02:00:0a:4e:00:0${1 + index}`, "peer.mac"),
    };
    await connectHost(host, fabric, control);
    await connectPeer(peer, host);
    hosts.push(host);
    peers.push(peer);
  }
  return new Topology(fabric, control, hosts, peers);
}

/**
 * Only the lab's own links are kept free of IPv6: the default of a host's namespace stays the kernel's, so
 * that a guest device which is brought up carelessly makes the noise that it would make on a real host.
 */
async function connectHost(
  host: LabHost,
  fabric: NetworkNamespace,
  control: NetworkNamespace,
): Promise<void> {
  await host.namespace.ip([
    ...spentInterfaceIndexes(7 * (host.index + 1)),
    BRIDGE,
    `link add uplink type veth peer name to-${host.name} netns ${fabric.name}`,
    `link add ctl0 type veth peer name to-${host.name} netns ${control.name}`,
    ...["br0", "uplink", "ctl0"].map((link) => `link set ${link} addrgenmode none`),
    "link set uplink master br0",
    `address add ${host.controlAddress}/24 dev ctl0`,
    ...["br0", "uplink", "ctl0"].map((link) => `link set ${link} up`),
  ]);
  await Promise.all([fabric, control].map((side) => side.ip([`link set to-${host.name} master br0 up`])));
}

async function connectPeer(peer: LabPeer, host: LabHost): Promise<void> {
  await peer.namespace.run("sysctl", ["-q", "-w", ...QUIET]);
  await host.namespace.ip([
    `link add to-${peer.name} type veth peer name eth0 address ${peer.mac} netns ${peer.namespace.name}`,
    `link set to-${peer.name} addrgenmode none`,
    `link set to-${peer.name} master br0 up`,
  ]);
  await peer.namespace.ip([`address add ${peer.address}/24 dev eth0`, "link set eth0 up"]);
}

/** `/dev/tapN` is named by ifindex and shared by all namespaces: hosts must not give out the same numbers. */
function spentInterfaceIndexes(count: number): string[] {
  const names = Array.from({ length: count }, (_, index) => `spent${index}`);
  return [
    ...names.map((name) => `link add ${name} type bridge`),
    ...names.map((name) => `link delete ${name}`),
  ];
}

function checkOptions({ hosts, prefix }: TopologyOptions): void {
  if (!/^[a-z0-9]{1,20}$/.test(prefix)) {
    throw invalidArgument("prefix", `"${prefix}" is not 1 to 20 lower-case letters and digits.`);
  }
  if (hosts.length < 2 || hosts.length > 8 || new Set(hosts).size !== hosts.length) {
    throw invalidArgument("hosts", "A lab has two to eight hosts with different names.");
  }
  for (const [index, host] of hosts.entries()) {
    if (!HOST_NAME.test(host)) {
      throw invalidArgument(`hosts[${index}]`, `"${host}" is not a lab host's name like "ha".`);
    }
  }
}

function notFound(noun: string, name: string): SwitchoverError {
  return new SwitchoverError("NOT_FOUND", `The lab has no ${noun} "${name}".`, {
    reason: "LAB_UNKNOWN_NAME",
  });
}
