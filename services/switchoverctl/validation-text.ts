import type {
  StartMigrationResponse,
  StartRefusal,
} from "../../proto/gen/switchover/v1/migration_service.ts";

/** What a dry run tells a person: one line a refusal. Pure. */
export function validationText({ migration, refusals }: StartMigrationResponse): string {
  if (migration !== undefined) return `This very request has made ${migration.migrationId} already.`;
  if (refusals.length === 0) return "Nothing refuses it.";
  return refusals.map(lineOf).join("\n");
}

function lineOf({ code, reason, sentence, field, hostId }: StartRefusal): string {
  const where = [hostId, field].filter((part) => part !== "").join(", ");
  return `${where === "" ? "" : `${where}: `}${sentence} [${code}, ${reason}]`;
}
