import { invalidArgument, unknownEnum } from "../proto/error.ts";
import {
  DeadlineAction,
  type MigrationDeadline,
  MigrationMode,
  type MigrationSpec,
  type PostCopyPolicy,
} from "../proto/gen/switchover/v1/migration.ts";
import type { StartMigrationRequest } from "../proto/gen/switchover/v1/migration_service.ts";
import { parseGuestId, parseHostId, parseInstanceId } from "../proto/ids.ts";
import { checkCount, checkTransferParameters } from "../proto/transfer-parameters.ts";
import { parseLabels } from "./labels.ts";
import type { MigrationRequest } from "./record/guest-record.ts";

/** A week, which timers can hold. */
const DEADLINE_AT_MOST_MS = 604_800_000;
const PRIORITY_AT_MOST = 100;
const UINT32_AT_MOST = 2 ** 32 - 1;

const REQUEST_ID_TEXT = /^[A-Za-z0-9_-]{1,63}$/;

/** Every field of the request, checked; INVALID_ARGUMENT names the first that can never be right. */
export function parseStartMigration({ requestId, spec }: StartMigrationRequest): MigrationRequest {
  if (requestId === "") throw invalidArgument("request_id", "A request id is required.", "REQUIRED");
  if (!REQUEST_ID_TEXT.test(requestId)) {
    throw invalidArgument("request_id", 'A request id is 1 to 63 letters, digits, "_" or "-".');
  }
  if (spec === undefined) throw invalidArgument("spec", "What to migrate is required.", "REQUIRED");
  const guestId = parseGuestId(spec.guestId, "spec.guest_id");
  checkEnds(spec);
  if (spec.mode !== MigrationMode.LIVE && spec.mode !== MigrationMode.POST_COPY) {
    throw unknownEnum("spec.mode", spec.mode, "A mode is required: live or post-copy.");
  }
  if (spec.transfer !== undefined) checkTransferParameters(spec.transfer, spec.mode, "spec.transfer");
  if (spec.postCopy !== undefined) checkPostCopy(spec.postCopy, spec.mode);
  checkPriority(spec.priority);
  if (spec.deadline !== undefined) checkDeadline(spec.deadline, spec.mode);
  return { requestId, guestId, spec: { ...spec, labels: parseLabels(spec.labels, "spec.labels") } };
}

function checkEnds(spec: MigrationSpec): void {
  const source = parseHostId(spec.sourceHostId, "spec.source_host_id");
  const destination = parseHostId(spec.destinationHostId, "spec.destination_host_id");
  const { sourceInstanceId, destinationInstanceId } = spec;
  if (sourceInstanceId !== "") parseInstanceId(sourceInstanceId, "spec.source_instance_id");
  if (destinationInstanceId !== "") parseInstanceId(destinationInstanceId, "spec.destination_instance_id");
  if (source !== destination) return;
  const sentence = `Within one host (${source}) a migration needs two different instance ids.`;
  if (sourceInstanceId === "") throw invalidArgument("spec.source_instance_id", sentence, "REQUIRED");
  if (destinationInstanceId === "")
    throw invalidArgument("spec.destination_instance_id", sentence, "REQUIRED");
  if (sourceInstanceId === destinationInstanceId) {
    throw invalidArgument("spec.destination_instance_id", sentence, "SAME_INSTANCE");
  }
}

function checkPostCopy({ trigger }: PostCopyPolicy, mode: MigrationMode): void {
  if (trigger === undefined) return;
  const field = trigger.$case === "afterPasses" ? "spec.post_copy.after_passes" : "spec.post_copy.after_ms";
  if (mode !== MigrationMode.POST_COPY) {
    throw invalidArgument(
      field,
      "A live migration has no moment to switch to post-copy.",
      "POST_COPY_MODE_ONLY",
    );
  }
  checkCount(field, trigger.value, UINT32_AT_MOST);
  if (trigger.$case === "afterPasses" && trigger.value === 0) {
    throw invalidArgument(field, "The CPUs move after one pass over memory at the earliest.", "OUT_OF_RANGE");
  }
}

function checkDeadline({ afterMs, action }: MigrationDeadline, mode: MigrationMode): void {
  const at = "spec.deadline";
  checkCount(`${at}.after_ms`, afterMs, DEADLINE_AT_MOST_MS);
  if (afterMs === 0)
    throw invalidArgument(`${at}.after_ms`, "A deadline lies after the request.", "REQUIRED");
  if (action !== DeadlineAction.CANCEL && action !== DeadlineAction.SWITCH_TO_POST_COPY) {
    const sentence = "What happens at the deadline is required: cancel, or switch to post-copy.";
    throw unknownEnum(`${at}.action`, action, sentence);
  }
  if (action === DeadlineAction.SWITCH_TO_POST_COPY && mode !== MigrationMode.POST_COPY) {
    const sentence = "A live migration has no moment to switch to post-copy.";
    throw invalidArgument(`${at}.action`, sentence, "POST_COPY_MODE_ONLY");
  }
}

function checkPriority(priority: number): void {
  if (Number.isInteger(priority) && Math.abs(priority) <= PRIORITY_AT_MOST) return;
  const sentence = `${priority} is not a whole number from -${PRIORITY_AT_MOST} to ${PRIORITY_AT_MOST}.`;
  throw invalidArgument("spec.priority", sentence, "OUT_OF_RANGE");
}
