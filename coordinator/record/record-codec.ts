import { SwitchoverError } from "../../proto/error.ts";
import { GuestRecord, MigrationState } from "../../proto/gen/switchover/v1/record.ts";
import { type ReadJson, readJson } from "../../proto/read-json.ts";

/**
 * Records as the buckets hold them: proto3 JSON in UTF-8, so that a person can read them with any NATS client and
 * a newer coordinator's fields do not stop an older one.
 */
export function encodeGuestRecord(record: GuestRecord): Uint8Array {
  return Buffer.from(JSON.stringify(GuestRecord.toJSON(record)));
}

/** INTERNAL / RECORD_UNREADABLE for bytes that no coordinator wrote, with `where` they are. */
export function decodeGuestRecord(bytes: Uint8Array, where: Where = {}): GuestRecord {
  return readGuestRecord(bytes, where).value;
}

/** As `decodeGuestRecord`, with what of it only a newer coordinator understands. */
export function readGuestRecord(bytes: Uint8Array, where: Where = {}): ReadJson<GuestRecord> {
  return decode("guest record", bytes, where, GuestRecord.fromJSON);
}

export function encodeMigrationState(state: MigrationState): Uint8Array {
  return Buffer.from(JSON.stringify(MigrationState.toJSON(state)));
}

/** As `decodeGuestRecord`. */
export function decodeMigrationState(bytes: Uint8Array, where: Where = {}): MigrationState {
  return decode("ended migration", bytes, where, MigrationState.fromJSON).value;
}

type Where = Readonly<Record<string, string>>;

function decode<T>(
  noun: string,
  bytes: Uint8Array,
  where: Where,
  fromJson: (json: unknown) => T,
): ReadJson<T> {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    if (typeof json !== "object" || json === null) throw new TypeError(`${typeof json} instead of an object`);
    return readJson(json, fromJson);
  } catch (thrown) {
    throw new SwitchoverError("INTERNAL", `A stored ${noun} cannot be read.`, {
      reason: "RECORD_UNREADABLE",
      metadata: where,
      cause: thrown,
    });
  }
}
