import { SwitchoverError } from "../../proto/error.ts";
import type { Fence } from "../../proto/gen/switchover/v1/fence.ts";
import { MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import type { MigrationCommand } from "../migration/migration-command.ts";
import type { CommandReply } from "../migration/migration-event.ts";
import type { AgentCall, AgentPort } from "./agent-port.ts";

/**
 * Carries one command to its agent, once, and returns what it answered. UNIMPLEMENTED / COMMAND_NOT_DRIVEN where
 * HostAgentService has no such call.
 */
export async function performCommand(
  agents: AgentPort,
  command: MigrationCommand,
  fence: Fence,
  call: AgentCall,
): Promise<CommandReply> {
  const { hostId, migrationId, guestId, instanceId } = command;
  const target = { fence, guestId, instanceId };
  switch (command.name) {
    case "preflight": {
      const role = command.side === "source" ? MigrationRole.SOURCE : MigrationRole.DESTINATION;
      const { refusals, instance } = await agents.preflight(
        hostId,
        { guestId, instanceId, role, mode: command.mode },
        call,
      );
      return {
        name: command.name,
        refusals,
        instance:
          instance === undefined
            ? null
            : {
                instanceId: instance.instanceId,
                runState: instance.runState,
                epoch: instance.fence?.epoch ?? 0n,
              },
      };
    }
    case "prepareDestination": {
      const { sourceHostId, mode, transfer } = command;
      const { incomingUri } = await agents.prepareDestination(
        hostId,
        { ...target, migrationId, sourceHostId, mode, transfer },
        call,
      );
      return { name: command.name, incomingUri };
    }
    case "armSource": {
      const { destinationHostId, mode, transfer } = command;
      const { runState } = await agents.armSource(
        hostId,
        { ...target, migrationId, destinationHostId, mode, transfer },
        call,
      );
      return { name: command.name, runState };
    }
    case "beginTransfer":
      await agents.beginTransfer(hostId, { ...target, incomingUri: command.incomingUri }, call);
      return { name: command.name };
    case "switchToPostCopy":
      await agents.switchToPostCopy(hostId, target, call);
      return { name: command.name };
    case "getHandOff": {
      const { handOff } = await agents.getHandOff(hostId, target, call);
      return { name: command.name, handOff };
    }
    case "deliverHandOff":
      await agents.deliverHandOff(hostId, { ...target, handOff: command.handOff }, call);
      return { name: command.name };
    case "releaseSource":
      await agents.releaseSource(hostId, target, call);
      return { name: command.name };
    case "cancelTransfer":
    case "abortDestination":
    case "handBack":
    case "resumeSource":
    case "pauseMigration":
    case "recoverMigration":
    case "fenceHost":
      throw new SwitchoverError(
        "UNIMPLEMENTED",
        `The agent on ${hostId} cannot be asked for ${command.name} yet.`,
        {
          reason: "COMMAND_NOT_DRIVEN",
        },
      );
  }
}
