import { readList, readObject } from "./json-reader.ts";
import { type JsonObject, parseQmpVersion, type QmpVersion } from "./qmp-codec.ts";

/** What sets one VMM apart from another where it matters for a switchover. */
export interface VmmFeatures {
  readonly version: QmpVersion;
  /** For people: `7.2.22 (Debian 1:7.2+dfsg-7)`. */
  readonly versionText: string;
  readonly outOfBand: "enabled" | "not-offered";
  /**
   * Whether MigrationStatus has `postcopy-device` (QEMU 10.2). Where it is known and the return path is open,
   * `postcopy-active` comes after the destination has loaded its device state; where not, before.
   */
  readonly postcopyDeviceStatus: "known" | "unknown";
  /** The names in QEMU's MigrationStatus and MigrationCapability. */
  readonly migrationStatuses: readonly string[];
  readonly migrationCapabilities: readonly string[];
}

/** Reads the answers to `query-version` and `query-qmp-schema`. Throws INTERNAL QMP_MALFORMED for other shapes. */
export function parseVmmFeatures(
  versionValue: unknown,
  schemaValue: unknown,
  outOfBand: "enabled" | "not-offered",
): VmmFeatures {
  const version = parseQmpVersion(readObject(versionValue, "query-version"));
  const schema = new Schema(readList(schemaValue, "query-qmp-schema"));
  const migrationStatuses = schema.enumOf(schema.memberOf(schema.argumentsOf("MIGRATION"), "status"));
  const setting = schema.elementOf(
    schema.memberOf(schema.argumentsOf("migrate-set-capabilities"), "capabilities"),
  );
  const { major, minor, micro, packageText } = version;
  return {
    version,
    versionText: `${major}.${minor}.${micro}${packageText === "" ? "" : ` (${packageText})`}`,
    outOfBand,
    postcopyDeviceStatus: migrationStatuses.includes("postcopy-device") ? "known" : "unknown",
    migrationStatuses,
    migrationCapabilities: schema.enumOf(schema.memberOf(setting, "capability")),
  };
}

/** QEMU hides the names of types behind numbers, so an enum is found by the commands and events that use it. */
class Schema {
  readonly #entities = new Map<string, JsonObject>();

  constructor(entities: readonly unknown[]) {
    for (const entity of entities) {
      const object = readObject(entity, "query-qmp-schema");
      if (typeof object.name === "string") this.#entities.set(object.name, object);
    }
  }

  argumentsOf(commandOrEvent: string): JsonObject | undefined {
    return this.#named(this.#named(commandOrEvent)?.["arg-type"]);
  }

  memberOf(type: JsonObject | undefined, name: string): JsonObject | undefined {
    const member = membersOf(type).find((candidate) => candidate.name === name);
    return this.#named(member?.type);
  }

  elementOf(list: JsonObject | undefined): JsonObject | undefined {
    return this.#named(list?.["element-type"]);
  }

  enumOf(type: JsonObject | undefined): readonly string[] {
    return membersOf(type).flatMap(({ name }) => (typeof name === "string" ? [name] : []));
  }

  #named(name: unknown): JsonObject | undefined {
    return typeof name === "string" ? this.#entities.get(name) : undefined;
  }
}

function membersOf(type: JsonObject | undefined): readonly JsonObject[] {
  const members = type?.members;
  return Array.isArray(members) ? members.map((member) => readObject(member, "query-qmp-schema")) : [];
}
