import { invalidArgument } from "./error.ts";
import { MigrationMode, type TransferParameters } from "./gen/switchover/v1/migration.ts";

/** QEMU's: MAX_MIGRATE_DOWNTIME, the range of a qapi `size` as it is stored, and of `multifd-channels`. */
const DOWNTIME_AT_MOST_MS = 2_000_000;
const BANDWIDTH_AT_MOST = 2n ** 63n - 1n;
const CHANNELS_AT_MOST = 255;

/** Throws INVALID_ARGUMENT, naming the field under `at`, for the first that QEMU would refuse in this mode. */
export function checkTransferParameters(transfer: TransferParameters, mode: MigrationMode, at: string): void {
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

/** Throws INVALID_ARGUMENT / OUT_OF_RANGE for all but whole numbers from 0. */
export function checkCount(field: string, value: number, atMost: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= atMost) return;
  throw invalidArgument(field, `${value} is not a whole number from 0 to ${atMost}.`, "OUT_OF_RANGE");
}

function checkBandwidth(field: string, value: bigint): void {
  if (value >= 0n && value <= BANDWIDTH_AT_MOST) return;
  throw invalidArgument(field, `${value} is not a bandwidth from 0 to ${BANDWIDTH_AT_MOST}.`, "OUT_OF_RANGE");
}
