/**
 * QEMU's MigrationStatus, every name up to QEMU 10.2 and the `failing` that follows it.
 * Later than 7.2: `postcopy-recover-setup` (9.1), `postcopy-device` (10.2; the destination still loads its device
 * state, and the source resumes if that fails), `failing` (the source is on its way to `failed`).
 */
const MIGRATION_STATUSES = [
  "none",
  "setup",
  "cancelling",
  "cancelled",
  "active",
  "postcopy-device",
  "postcopy-active",
  "postcopy-paused",
  "postcopy-recover-setup",
  "postcopy-recover",
  "completed",
  "failing",
  "failed",
  "colo",
  "pre-switchover",
  "device",
  "wait-unplug",
] as const;

/** `unknown` is a word of a QEMU newer than this list. */
export type MigrationStatus = (typeof MIGRATION_STATUSES)[number] | "unknown";

const NAMES: ReadonlySet<string> = new Set(MIGRATION_STATUSES);

/** Never fails: a word that is not known reads as `unknown`. */
export function parseMigrationStatus(text: string): MigrationStatus {
  return NAMES.has(text) ? (text as MigrationStatus) : "unknown";
}

const UNDER_WAY: ReadonlySet<string> = new Set([
  "setup",
  "active",
  "pre-switchover",
  "device",
  "postcopy-device",
  "postcopy-active",
  "postcopy-paused",
  "postcopy-recover-setup",
  "postcopy-recover",
] satisfies readonly MigrationStatus[]);

/** A transfer that has begun and not ended. */
export function isUnderWay(statusText: string): boolean {
  return UNDER_WAY.has(statusText);
}
