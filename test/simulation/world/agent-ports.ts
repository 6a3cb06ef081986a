import type { BeforeOperation } from "../../../agent/guest/guest-operation.ts";
import type { HandOffBus, HostAgentPorts } from "../../../agent/host-agent-ports.ts";
import type { Log } from "../../../agent/log.ts";
import type { KernelChange } from "../../../agent/netlink/kernel-change.ts";
import type { HostId } from "../../../proto/ids.ts";
import type { Random } from "../engine/random.ts";
import type { SimulatedProcess } from "../engine/simulated-process.ts";
import type { Peer } from "../model/call.ts";
import { PutOffRoute } from "../model/put-off-route.ts";
import { openQmpLink } from "../model/qmp-link.ts";
import type { World } from "./world.ts";

/** What one life of a host's agent sees of the world; nothing that it holds works once its process is dead. */
export function agentPortsOf(
  world: World,
  hostId: string,
  process: SimulatedProcess,
  random: Random,
  log: Log,
): HostAgentPorts {
  const host = world.host(hostId);
  const peer: Peer = { node: hostId, process };
  const { timeline, grinder } = world;
  return {
    hostId: hostId as HostId,
    version: "0.0.0",
    kernelRelease: "0.0.0",
    bootId: host.bootId,
    migrationAddress: "10.0.0.1",
    journals: host.disk.storeFor(process),
    clock: process,
    log,
    staysRegisteredFor: world.schedule.staysRegisteredFor ?? [],
    handOffs: watchWords(world, hostId, world.nats.handOffBus(peer)),
    spool: host.disk.spool.storeFor(process),
    feed: world.nats.feedStream(peer),
    devices: {
      route: new PutOffRoute(() => host.kernel, process, timeline),
      factory: {
        create: (creation) => {
          process.mustLive();
          host.kernel.create(creation);
        },
      },
      // That it changes nothing shows as well in one.
      rehearsals: 1,
    },
    kernelChanges: {
      watch: (listener) => {
        const hear = (change: KernelChange) =>
          timeline.after(random.between(10, 100), () => process.run(() => listener([change])));
        host.kernelListeners.add(hear);
        const end = () => host.kernelListeners.delete(hear);
        process.onDeath(end);
        return end;
      },
    },
    openVmm: (path, listener) =>
      openQmpLink({ agent: process, timeline, random, grinder }, path, host.qemus.get(path), listener),
    beforeOperation: (guest, operation) => {
      process.mustLive();
      world.trace?.(process.name, `${guest.instanceId} ${guest.role.kind}: ${nameOf(operation)}`);
      world.beforeOperation(hostId, guest, operation);
      process.mustLive();
    },
  };
}

/** Each word as it leaves its host: it is to be in the journal by then. */
function watchWords(world: World, hostId: string, bus: HandOffBus): HandOffBus {
  return {
    ...bus,
    publish: (word) => {
      const isJournaled = world
        .host(hostId)
        .disk.read(word.guestId)
        .some(
          ({ word: said }) => said.kind === "handedOff" && said.handOff.fence?.epoch === word.fence?.epoch,
        );
      if (!isJournaled) world.wordNotJournaled ??= `${hostId} gave a word that it had not journaled.`;
      bus.publish(word);
    },
  };
}

function nameOf(operation: Parameters<BeforeOperation>[1]): string {
  switch (operation.kind) {
    case "publish":
      return `publish ${operation.event.$case}`;
    case "journal":
      return `journal ${operation.word.kind}`;
    default:
      return operation.kind;
  }
}
