import { invalidArgument } from "../proto/error.ts";
import {
  MigrationMode,
  type MigrationSpec,
  type PostCopyPolicy,
  type TransferParameters,
} from "../proto/gen/switchover/v1/migration.ts";
import type { StartMigrationRequest } from "../proto/gen/switchover/v1/migration_service.ts";
import { parseGuestId, parseHostId, parseInstanceId } from "../proto/ids.ts";
import { parseLabels } from "./labels.ts";
import type { MigrationRequest } from "./record/guest-record.ts";

/** QEMU's: MAX_MIGRATE_DOWNTIME, the range of a qapi `size` as it is stored, and of `multifd-channels`. */
const DOWNTIME_AT_MOST_MS = 2_000_000;
const BANDWIDTH_AT_MOST = 2n ** 63n - 1n;
const CHANNELS_AT_MOST = 255;
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
    throw invalidArgument("spec.mode", "A mode is required: live or post-copy.", "REQUIRED");
  }
  if (spec.transfer !== undefined) checkTransfer(spec.transfer, spec.mode);
  if (spec.postCopy !== undefined) checkPostCopy(spec.postCopy, spec.mode);
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

function checkTransfer(transfer: TransferParameters, mode: MigrationMode): void {
  const at = "spec.transfer";
  checkBandwidth(`${at}.max_bandwidth_bytes_per_second`, transfer.maxBandwidthBytesPerSecond);
  checkCount(`${at}.downtime_limit_ms`, transfer.downtimeLimitMs, DOWNTIME_AT_MOST_MS);
  checkCount(`${at}.multifd_channels`, transfer.multifdChannels, CHANNELS_AT_MOST);
  if (mode === MigrationMode.POST_COPY && transfer.multifdChannels > 0) {
    throw invalidArgument(
      `${at}.multifd_channels`,
      "Post-copy has one stream: no multifd.",
      "LIVE_MODE_ONLY",
    );
  }
  checkBandwidth(
    `${at}.max_post_copy_bandwidth_bytes_per_second`,
    transfer.maxPostCopyBandwidthBytesPerSecond,
  );
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

function checkCount(field: string, value: number, atMost: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= atMost) return;
  throw invalidArgument(field, `${value} is not a whole number from 0 to ${atMost}.`, "OUT_OF_RANGE");
}

function checkBandwidth(field: string, value: bigint): void {
  if (value >= 0n && value <= BANDWIDTH_AT_MOST) return;
  throw invalidArgument(field, `${value} is not a bandwidth from 0 to ${BANDWIDTH_AT_MOST}.`, "OUT_OF_RANGE");
}
