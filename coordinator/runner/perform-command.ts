import { SwitchoverError } from "../../proto/error.ts";
import type { Fence } from "../../proto/gen/switchover/v1/fence.ts";
import { MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import {
  type CancelTransferResponse,
  HandBackAnswer,
  type HandBackResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { HostId } from "../../proto/ids.ts";
import type { MigrationCommand } from "../migration/migration-command.ts";
import type { CommandReply } from "../migration/migration-event.ts";
import type { AgentCall } from "./agent-port.ts";
import { compareClocks } from "./compare-clocks.ts";
import type { RunnerPorts } from "./runner-ports.ts";

/** Carries one command to its agent, or to the fencing command, once, and returns what came of it. */
export async function performCommand(
  { agents, fencing, clock }: Pick<RunnerPorts, "agents" | "fencing" | "clock">,
  command: MigrationCommand,
  fence: Fence,
  call: AgentCall,
): Promise<CommandReply> {
  const { hostId, migrationId, guestId, instanceId } = command;
  // Spread last: what is added to a spread object has a hidden class of its own.
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
                nics: instance.nics.map(({ nicId, macAddress, device }) => ({
                  nicId,
                  macAddress,
                  device: deviceWordOf(device),
                })),
              },
      };
    }
    case "compareClocks": {
      const offset = await compareClocks({ agents, clock }, hostId, command.destinationHostId, call);
      return { name: command.name, offset };
    }
    case "prepareDestination": {
      const { sourceHostId, mode, transfer } = command;
      const { incomingUri } = await agents.prepareDestination(
        hostId,
        { migrationId, sourceHostId, mode, transfer, ...target },
        call,
      );
      return { name: command.name, incomingUri };
    }
    case "armSource": {
      const { destinationHostId, mode, transfer } = command;
      const { runState } = await agents.armSource(
        hostId,
        { migrationId, destinationHostId, mode, transfer, ...target },
        call,
      );
      return { name: command.name, runState };
    }
    case "beginTransfer":
      await agents.beginTransfer(hostId, { incomingUri: command.incomingUri, ...target }, call);
      return { name: command.name };
    case "switchToPostCopy":
      await agents.switchToPostCopy(hostId, target, call);
      return { name: command.name };
    case "getHandOff": {
      const { handOff } = await agents.getHandOff(hostId, target, call);
      return { name: command.name, handOff };
    }
    case "deliverHandOff": {
      const { takenOver } = await agents.deliverHandOff(
        hostId,
        { handOff: command.handOff, ...target },
        call,
      );
      return { name: command.name, takenOver };
    }
    case "releaseSource":
      await agents.releaseSource(hostId, target, call);
      return { name: command.name };
    case "cancelTransfer": {
      const answer = await agents.cancelTransfer(hostId, { migrationId, ...target }, call);
      return keptOrTooLate(answer, hostId);
    }
    case "abortDestination":
      await agents.abortDestination(hostId, { migrationId, ...target }, call);
      return { name: command.name };
    case "handBack":
      return handedBackOrTooLate(await agents.handBack(hostId, { migrationId, ...target }, call), hostId);
    case "resumeSource": {
      const { runState } = await agents.resumeSource(
        hostId,
        { migrationId, runState: command.runState, ...target },
        call,
      );
      return { name: command.name, runState };
    }
    case "pauseMigration":
      await agents.pauseMigration(hostId, target, call);
      return { name: command.name };
    case "recoverMigration": {
      const asked = { recoveryUri: command.recoveryUri, ...target };
      const { recoveryUri } = await agents.recoverMigration(hostId, asked, call);
      return { name: command.name, recoveryUri };
    }
    case "fenceHost":
      await fencing.fence(hostId, migrationId);
      return { name: command.name };
  }
}

/** `tapOnBridge` of a message's oneof is `tap_on_bridge` in its definition. */
function deviceWordOf(device: { readonly $case: string } | undefined): string {
  return (device?.$case ?? "").replace(/[A-Z]/g, (capital) => `_${capital.toLowerCase()}`);
}

function keptOrTooLate({ answer }: CancelTransferResponse, hostId: HostId): CommandReply {
  switch (answer?.$case) {
    case "kept":
      return { name: "cancelTransfer", answer: "kept", ...answer.value };
    case "tooLate":
      return { name: "cancelTransfer", answer: "tooLate", handOff: answer.value.handOff };
    case undefined:
      throw notUnderstood("CancelTransfer", hostId);
  }
}

function handedBackOrTooLate({ answer, vmmLost }: HandBackResponse, hostId: HostId): CommandReply {
  switch (answer) {
    case HandBackAnswer.HANDED_BACK:
      return { name: "handBack", answer: "handedBack" };
    case HandBackAnswer.TOO_LATE:
      return { name: "handBack", answer: "tooLate", vmmLost };
    default:
      throw notUnderstood("HandBack", hostId);
  }
}

function notUnderstood(method: string, hostId: HostId): SwitchoverError {
  return new SwitchoverError("INTERNAL", `The agent on ${hostId} answered ${method} with nothing known.`, {
    reason: "ANSWER_NOT_UNDERSTOOD",
  });
}
