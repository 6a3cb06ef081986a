import { SwitchoverError } from "../../proto/error.ts";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import {
  AbortDestinationResponse,
  CancelTransferResponse,
  HandBackAnswer,
  HandBackResponse,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseMigrationId } from "../../proto/ids.ts";
import type { AgentClient, FencedRequest } from "./agent-client.ts";
import type { Screen } from "./display.ts";
import { EXIT_CODES } from "./exit-code.ts";
import type { FencedValues } from "./fenced-settings.ts";

/** What the commands that take a coordinator's place need; each returns the exit code, throws SwitchoverError. */
export interface FencedPorts {
  readonly client: Pick<AgentClient, "cancelTransfer" | "abortDestination" | "handBack">;
  readonly screen: Screen;
  confirm(statement: string): Promise<boolean>;
}

export type FencedCall = (values: FencedValues, migrationId: string, ports: FencedPorts) => Promise<number>;

export const cancelTransfer: FencedCall = async (values, migrationId, ports) => {
  const response = await ports.client.cancelTransfer(await requestOf(values, migrationId, ports));
  const { answer } = response;
  const sentence =
    answer?.$case === "kept"
      ? `The source keeps the guest, which is ${answer.value.runState}.`
      : `Too late: the source has handed the guest off to ${answer?.value.handOff?.destinationHostId ?? "another host"}.`;
  show(values, ports.screen, sentence, CancelTransferResponse.toJSON(response));
  return answer?.$case === "kept" ? EXIT_CODES.done : EXIT_CODES.failed;
};

export const abortDestination: FencedCall = async (values, migrationId, ports) => {
  const response = await ports.client.abortDestination(await requestOf(values, migrationId, ports));
  const sentence =
    response.applied === Applied.ALREADY_SO
      ? `Nothing was done: ${values.instance} was aborted already, or there is no such instance.`
      : `The destination never starts the guest under epoch ${values.epoch}.`;
  show(values, ports.screen, sentence, AbortDestinationResponse.toJSON(response));
  return EXIT_CODES.done;
};

export const handBack: FencedCall = async (values, migrationId, ports) => {
  const response = await ports.client.handBack(await requestOf(values, migrationId, ports));
  const isBack = response.answer === HandBackAnswer.HANDED_BACK;
  const sentence = isBack
    ? `Handed back: the destination never started the guest, and never will under epoch ${values.epoch}.`
    : "Too late: the destination has started the guest, or taken it over stopped.";
  show(values, ports.screen, sentence, HandBackResponse.toJSON(response));
  return isBack ? EXIT_CODES.done : EXIT_CODES.failed;
};

/** What the agent is asked with, once a person has stated that nobody else asks it. */
async function requestOf(
  values: FencedValues,
  migrationIdText: string,
  ports: FencedPorts,
): Promise<FencedRequest> {
  const { migrationId, guestId } = parseMigrationId(migrationIdText, "MIGRATION_ID");
  const statement = `No coordinator is left to drive migration ${migrationId} of guest ${guestId}.`;
  if (values.yes === "off" && !(await ports.confirm(statement))) {
    throw new SwitchoverError("INVALID_ARGUMENT", "Nothing was asked: it was not confirmed (see --yes).", {
      reason: "NOT_CONFIRMED",
      field: "--yes",
    });
  }
  const fence = { epoch: BigInt(values.epoch), revision: BigInt(values.revision) };
  return { fence, guestId, instanceId: values.instance, migrationId };
}

function show(values: FencedValues, screen: Screen, sentence: string, answer: unknown): void {
  screen.write(`${values.json === "on" ? JSON.stringify(answer) : sentence}\n`);
}
