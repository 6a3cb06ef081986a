import {
  type Migration,
  MigrationMode,
  Phase,
  type TransferProgress,
} from "../../proto/gen/switchover/v1/migration.ts";
import { wordOf } from "../wording/words.ts";
import { durationText } from "./duration-text.ts";

const MIB = 1024 * 1024;
const BAR_WIDTH = 20;

/** One line about where a migration stands, for a terminal to overwrite with the next. Pure. */
export function progressLine(migration: Migration): string {
  const phase = wordOf(Phase, migration.phase);
  const waiting = migration.reason === "" ? "" : ` (${migration.reason})`;
  const transfer = transferText(migration);
  return transfer === "" ? `${phase}${waiting}` : `${phase.padEnd(15)} ${transfer}${waiting}`;
}

/**
 * How far the copy of memory is, how fast it goes, and when the switchover is to be expected; empty before the source's
 * VMM has said how much there is. A guest that writes to its memory makes it later than that: its pages go again.
 */
export function transferText(migration: Migration): string {
  const { progress } = migration;
  if (progress === undefined || progress.totalBytes === 0n) return "";
  const parts = [
    bar(1 - Number(progress.remainingBytes) / Number(progress.totalBytes)),
    `${mebibytes(progress.transferredBytes)} MiB sent`,
    `${mebibytes(progress.remainingBytes)} of ${mebibytes(progress.totalBytes)} MiB to go`,
    `${(Number(progress.rateBitsPerSecond) / 8e6).toFixed(1)} MB/s`,
  ];
  if (progress.passes > 0) parts.push(`pass ${progress.passes}`);
  return [...parts, ...expectations(migration, progress)].join("  ");
}

/** `[#####---------------]  25 %` */
function bar(part: number): string {
  const done = Math.min(1, Math.max(0, part));
  const filled = Math.floor(done * BAR_WIDTH);
  return `[${"#".repeat(filled)}${"-".repeat(BAR_WIDTH - filled)}] ${String(Math.floor(done * 100)).padStart(3)} %`;
}

function expectations({ phase, spec }: Migration, progress: TransferProgress): readonly string[] {
  const restMs = restOf(progress);
  if (phase === Phase.POST_COPY) return restMs === undefined ? [] : [`all there in ${durationText(restMs)}`];
  if (phase !== Phase.TRANSFERRING) return [];
  const trigger = spec?.mode === MigrationMode.POST_COPY ? spec.postCopy?.trigger : undefined;
  if (trigger?.$case === "afterPasses") return [`switchover after pass ${trigger.value}`];
  if (trigger?.$case === "afterMs") return [`switchover ${durationText(trigger.value)} after its begin`];
  const stop = progress.expectedDowntimeMs > 0 ? [`expected stop ${progress.expectedDowntimeMs} ms`] : [];
  return restMs === undefined ? stop : [`switchover in ${durationText(restMs)} or later`, ...stop];
}

/** Undefined while nothing moves. */
function restOf({ remainingBytes, rateBitsPerSecond }: TransferProgress): number | undefined {
  return rateBitsPerSecond === 0n ? undefined : Number((remainingBytes * 8_000n) / rateBitsPerSecond);
}

function mebibytes(bytes: bigint): string {
  return (Number(bytes) / MIB).toFixed(1);
}
