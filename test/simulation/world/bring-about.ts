import { Resolution } from "../../../proto/gen/switchover/v1/migration_service.ts";
import { NATS } from "../model/nats.ts";
import type { ControlPlane } from "./control-plane.ts";
import { CONTROL_PLANE } from "./names.ts";
import type { Operator } from "./operator.ts";
import type { Fault } from "./schedule.ts";
import { isUnguarded, toggleCpus } from "./toggle-cpus.ts";
import { flushRegistrations, removeRoutes, takeRegistrations } from "./undo-registrations.ts";
import type { SimulatedInstance, World } from "./world.ts";

const COORDINATORS = ["coordinator-1", "coordinator-2"] as const;
const EVERYBODY = [NATS, CONTROL_PLANE, ...COORDINATORS] as const;

type Immediate = Exclude<Fault, { readonly kind: "agentKilledAtOperation" }>;

/** Brings a fault about, and returns what undoes it. `instance` is the one of the fault's side. */
export function bringAbout(
  world: World,
  control: ControlPlane,
  operator: Operator,
  fault: Immediate,
  instance: SimulatedInstance | null,
): () => void {
  const hostId = instance?.host.hostId ?? "";
  switch (fault.kind) {
    case "agentKilled":
      world.killAgent(hostId);
      return () => world.startAgent(hostId);
    case "agentStopped": {
      const process = world.agents.get(hostId)?.process;
      process?.stop();
      return () => process?.goOn();
    }
    case "coordinatorKilled":
      world.killCoordinator(fault.coordinator);
      return () => {
        if (fault.coordinator < world.schedule.coordinators) world.startCoordinator(fault.coordinator);
      };
    case "natsKilled":
      world.nats.server.kill();
      return () => world.nats.restart();
    case "qemuKilled":
      if (instance !== null) world.loss.takeAway(instance.qemu, `${instance.qemu.parts.name} was killed.`);
      return nothing;
    case "qemuStopped":
      instance?.qemu.process.stop();
      return () => instance?.qemu.process.goOn();
    case "hostCrashed":
      world.crashHost(hostId);
      return () => world.startAgent(hostId);
    case "streamReset":
      control.source?.qemu.transfer?.reset("network");
      return nothing;
    case "streamStalled": {
      const transfer = control.source?.qemu.transfer;
      transfer?.stall();
      return () => transfer?.flow();
    }
    case "hostCutOff":
      return cut(
        world,
        EVERYBODY.map((other) => [hostId, other]),
      );
    case "natsCutOff":
      return cut(
        world,
        fault.side === "coordinator" ? COORDINATORS.map((one) => [one, NATS]) : [[hostId, NATS]],
      );
    case "linksTroubled":
      world.network.troubleAll(fault);
      return () => world.network.troubleAll(null);
    case "callsRepeated":
      world.commands.repeatWithinUs = fault.delayUs;
      return () => {
        world.commands.repeatWithinUs = 0;
      };
    case "diskFull": {
      const { disk } = world.host(hostId);
      disk.room = "none";
      disk.fullUntilUs = world.timeline.nowUs + fault.forUs;
      return () => {
        disk.room = "some";
      };
    }
    case "stateLost":
      world.loseState(hostId);
      return () => {
        world.startAgent(hostId);
        if (world.schedule.adoptedAgain === "livingAtOnce")
          void control.adoptAgain(({ host }) => host.hostId === hostId);
      };
    case "entryFlushed":
      world.noteDrift();
      if (instance !== null) flushRegistrations(instance);
      return nothing;
    case "entryTaken":
      world.noteDrift();
      if (instance !== null) takeRegistrations(instance);
      return nothing;
    case "routesRemoved":
      world.noteDrift();
      world.untoldDrifts += 1;
      if (instance !== null) removeRoutes(instance);
      return nothing;
    case "changesLost": {
      const host = instance?.host;
      host?.loseChanges();
      world.noteDrift();
      if (instance !== null) flushRegistrations(instance);
      return () => {
        world.noteDrift();
        host?.tellChanges();
      };
    }
    case "bridgeRecreated": {
      const host = instance?.host;
      world.noteDrift();
      host?.deleteBridge();
      return () => {
        world.noteDrift();
        host?.makeBridge();
      };
    }
    case "nicPlugged":
      if (instance !== null) void control.plugs.change(instance, fault.nic, "open");
      return nothing;
    case "nicUnplugged":
      if (instance !== null) void control.plugs.change(instance, "out", "open");
      return nothing;
    case "ownerStops":
      void control.ownerWants("stopped");
      return nothing;
    case "ownerStarts":
      void control.ownerWants("running");
      return nothing;
    case "cancelAsked":
      void control.intervene((api, migrationId) => api.cancelMigration({ migrationId }));
      return nothing;
    case "postCopyAsked":
      void control.intervene((api, migrationId) => api.switchToPostCopy({ migrationId }));
      return nothing;
    case "pauseAsked":
      // Nobody asks for a recovery whose pause was not answered.
      return afterwards(
        control.intervene((api, migrationId) => api.pauseMigration({ migrationId })),
        () => control.intervene((api, migrationId) => api.recoverMigration({ migrationId })),
      );
    case "strangerConts":
      // From QEMU's switch until the word nobody can tell a stranger's start from QEMU's own.
      if (instance !== null && (isUnguarded(instance) || !instance.isKnown)) return nothing;
      world.guest.wanted = "either";
      world.guest.meddledAtUs = world.timeline.nowUs;
      instance?.qemu.execute({ name: "cont", by: "stranger" }, nothing);
      return nothing;
    case "cpusToggled":
      return instance === null ? nothing : toggleCpus(world, instance, fault);
    case "commandOvertaken":
      if (instance !== null) world.commands.bringOvertaken(instance, fault.command);
      return nothing;
    case "hostDeclaredDead":
      void operator.declareDead(hostId);
      return () => world.startAgent(hostId);
    case "sourceResumeAsked":
      void operator.endWith(Resolution.RESUME_SOURCE);
      return nothing;
    case "guestGivenUp":
      void operator.endWith(Resolution.GUEST_LOST);
      return nothing;
  }
}

function nothing(): void {}

function afterwards(first: Promise<void>, then: () => Promise<void>): () => void {
  return () => void first.then(then);
}

function cut(world: World, links: readonly (readonly [string, string])[]): () => void {
  for (const [left, right] of links) world.network.cut(left, right);
  return () => {
    for (const [left, right] of links) world.network.mend(left, right);
  };
}
