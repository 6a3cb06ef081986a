import { invalidArgument } from "./error.ts";

/** A virtual machine, whichever host it runs on. */
export type GuestId = string & { readonly __brand: "GuestId" };
/** A host with an agent. */
export type HostId = string & { readonly __brand: "HostId" };
/** One QEMU of a guest; unique on its host. During a migration a guest has two. */
export type InstanceId = string & { readonly __brand: "InstanceId" };
/** One migration: its guest, then when it was asked for and a random part, in base 36: `web-7-mk3v0q8ya1z9`. */
export type MigrationId = string & { readonly __brand: "MigrationId" };

/** Ids become NATS subject tokens, KV keys and file names, so only what is safe in all three. */
const ID_TEXT = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$/;
const MIGRATION_ID_TEXT = /^([A-Za-z0-9_][A-Za-z0-9_-]{0,62})-([0-9a-z]{8,10})[0-9a-z]{4}$/;

function parseId(text: string, field: string, noun: string): string {
  if (text === "") throw invalidArgument(field, `A ${noun} id is required.`, "REQUIRED");
  if (!ID_TEXT.test(text)) {
    throw invalidArgument(
      field,
      `"${text.slice(0, 64)}" is not a ${noun} id: 1 to 63 letters, digits, "_" or "-", not starting with "-".`,
    );
  }
  return text;
}

export const parseGuestId = (text: string, field: string): GuestId =>
  parseId(text, field, "guest") as GuestId;
export const parseHostId = (text: string, field: string): HostId => parseId(text, field, "host") as HostId;
export const parseInstanceId = (text: string, field: string): InstanceId =>
  parseId(text, field, "instance") as InstanceId;

/**
 * Returns the guest that a migration id names, so that its record is found without an index, and when it was asked for
 * (milliseconds, Unix).
 */
export function parseMigrationId(
  text: string,
  field: string,
): { migrationId: MigrationId; guestId: GuestId; requestedAtUnixMs: number } {
  if (text === "") throw invalidArgument(field, "A migration id is required.", "REQUIRED");
  const match = MIGRATION_ID_TEXT.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) {
    throw invalidArgument(field, `"${text.slice(0, 90)}" is not a migration id like web-7-mk3v0q8ya1z9.`);
  }
  return {
    migrationId: text as MigrationId,
    guestId: match[1] as GuestId,
    requestedAtUnixMs: Number.parseInt(match[2], 36),
  };
}

/** The guest that a migration id names; null for what is none. */
export function guestIdIn(migrationId: string): GuestId | null {
  return (MIGRATION_ID_TEXT.exec(migrationId)?.[1] as GuestId | undefined) ?? null;
}

/** Returns the host that a drain's id names; it has the form of a migration's id, with the host for the guest. */
export function parseDrainId(text: string, field: string): { drainId: string; hostId: HostId } {
  if (text === "") throw invalidArgument(field, "A drain id is required.", "REQUIRED");
  const match = MIGRATION_ID_TEXT.exec(text);
  if (match?.[1] === undefined) {
    throw invalidArgument(field, `"${text.slice(0, 90)}" is not a drain id like ha-mk3v0q8ya1z9.`);
  }
  return { drainId: text, hostId: match[1] as HostId };
}

/** The id of a drain of `hostId`, made as a migration's. */
export function drainIdOf(hostId: HostId, atUnixMs: number, random: number): string {
  return migrationIdOf(hostId as string as GuestId, atUnixMs, random);
}

/**
 * The id of a migration of `guestId` asked for at `atUnixMs`; ids of one guest sort by time.
 * `random` is in [0, 1) and keeps two of the same millisecond apart.
 */
export function migrationIdOf(guestId: GuestId, atUnixMs: number, random: number): MigrationId {
  const suffix = Math.floor(random * 36 ** 4)
    .toString(36)
    .padStart(4, "0");
  return `${guestId}-${atUnixMs.toString(36).padStart(8, "0")}${suffix}` as MigrationId;
}
