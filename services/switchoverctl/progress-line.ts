import { type Migration, Phase, type TransferProgress } from "../../proto/gen/switchover/v1/migration.ts";
import { wordOf } from "./timeline.ts";

const MIB = 1024 * 1024;

/** One line about where a migration stands, for a terminal to overwrite with the next. Pure. */
export function progressLine(migration: Migration): string {
  const phase = wordOf(Phase, migration.phase);
  const waiting = migration.reason === "" ? "" : ` (${migration.reason})`;
  const { progress } = migration;
  if (progress === undefined || progress.totalBytes === 0n) return `${phase}${waiting}`;
  return `${phase.padEnd(15)} ${transferText(progress)}${waiting}`;
}

function transferText(progress: TransferProgress): string {
  const parts = [
    `${mebibytes(progress.transferredBytes)} MiB sent`,
    `${mebibytes(progress.remainingBytes)} of ${mebibytes(progress.totalBytes)} MiB to go`,
    `${(Number(progress.rateBitsPerSecond) / 8e6).toFixed(1)} MB/s`,
  ];
  if (progress.passes > 0) parts.push(`pass ${progress.passes}`);
  if (progress.expectedDowntimeMs > 0) parts.push(`expected stop ${progress.expectedDowntimeMs} ms`);
  return parts.join("  ");
}

function mebibytes(bytes: bigint): string {
  return (Number(bytes) / MIB).toFixed(1);
}
