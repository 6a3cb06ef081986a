import { SwitchoverError, unknownEnum } from "../../proto/error.ts";
import { MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import type {
  PreflightRequest,
  PreflightResponse,
  Refusal,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseGuestId } from "../../proto/ids.ts";
import { nicPathInList } from "../device/check-nics.ts";
import { preflightNics } from "../device/nic-preparation.ts";
import { type Guest, holdsRightToRun } from "../guest/guest.ts";
import type { Host } from "../host.ts";
import { toInstanceMessage } from "../instance/instance-message.ts";
import { parseMode } from "./migration-call.ts";
import { wordForgotten } from "./word-forgotten.ts";

const VMM_ANSWER_TIMEOUT_MS = 1_000;

/** All that would refuse, not only the first; the instance carries the newest fence known here. */
export async function preflight(host: Host, request: PreflightRequest): Promise<PreflightResponse> {
  const guestId = parseGuestId(request.guestId, "guest_id");
  parseMode(request.mode);
  const side = parseSide(request.role);
  const instance = host.instances.resolve(guestId, request.instanceId, (candidate) =>
    candidate.adopted === null ? false : suits(candidate.adopted.runner.guest, side),
  );
  const { runner, source, vmm } = instance.requireAdopted();
  const survey = await host.surveyFor(instance.nics);
  const occasion = side === "source" ? "leave" : "arrive";
  const { route } = host.ports.devices;
  const found = preflightNics(route, instance.nics, nicPathInList, { survey }, occasion);
  const refusals: Refusal[] = found.map(({ reason, sentence, field }) => ({ reason, sentence, field }));
  try {
    const status = await vmm.queryStatus({ timeoutMs: VMM_ANSWER_TIMEOUT_MS });
    refusals.push(...runStateRefusals(runner.guest, side, status.runStateText));
  } catch (thrown) {
    const error = SwitchoverError.from(thrown);
    refusals.push({ reason: "VMM_BUSY", sentence: `The VMM does not answer: ${error.message}`, field: "" });
  }
  return {
    refusals,
    instance: { ...toInstanceMessage(runner.guest, instance.nics, source), fence: host.newestFence(guestId) },
  };
}

type Side = "source" | "destination";

function suits(guest: Guest, side: Side): boolean {
  return side === "source"
    ? holdsRightToRun(guest)
    : guest.role.kind === "vacant" || guest.role.kind === "incoming";
}

function runStateRefusals(guest: Guest, side: Side, runState: string): readonly Refusal[] {
  if (side === "source" && guest.role.kind === "forgotten") {
    const { message: sentence, reason } = wordForgotten(guest);
    return [{ reason, sentence, field: "instance_id" }];
  }
  if (!suits(guest, side)) {
    const sentence =
      side === "source"
        ? "This instance has no right to run, so it cannot give it away."
        : "This instance holds the guest already.";
    return [{ reason: side === "source" ? "NOT_OWNER" : "NOT_INCOMING", sentence, field: "instance_id" }];
  }
  if (side === "destination" && runState !== "inmigrate") {
    const sentence = `The VMM's run state is "${runState}"; an incoming guest needs "inmigrate".`;
    return [{ reason: "NOT_INCOMING", sentence, field: "instance_id" }];
  }
  if (side === "source" && runState === "postmigrate") {
    const sentence =
      "The VMM stands where its last transfer left it, and QEMU transfers no such guest: start it, and stop it again.";
    return [{ reason: "VMM_POSTMIGRATE", sentence, field: "instance_id" }];
  }
  return [];
}

function parseSide(role: MigrationRole): Side {
  switch (role) {
    case MigrationRole.SOURCE:
      return "source";
    case MigrationRole.DESTINATION:
      return "destination";
    default:
      throw unknownEnum("role", role, "The role must be SOURCE or DESTINATION.");
  }
}
