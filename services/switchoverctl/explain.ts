import { SwitchoverError } from "../../proto/error.ts";
import type { Host } from "../../proto/gen/switchover/v1/host.ts";
import type { Receipt } from "../../proto/gen/switchover/v1/receipt.ts";
import { parseMigrationId } from "../../proto/ids.ts";
import type { CommandPorts } from "./commands.ts";
import { EXIT_CODES, exitCodeOf } from "./exit-code.ts";
import { explainMigration } from "./explanation.ts";
import { explanationJson, explanationText } from "./explanation-text.ts";

/** Says what a migration waits for, and on whom; returns the exit code, throws SwitchoverError. */
export async function explain(
  migrationId: string,
  { client, display }: Pick<CommandPorts, "client" | "display">,
  nowUnixMs = Date.now,
): Promise<number> {
  parseMigrationId(migrationId, "MIGRATION_ID");
  const migration = await client.get(migrationId);
  const { sourceHostId = "", destinationHostId = "" } = migration.spec ?? {};
  const [source, destination, receipt] = await Promise.all([
    livingHost(client, sourceHostId),
    livingHost(client, destinationHostId),
    exitCodeOf(migration) === undefined ? null : keptReceipt(client, migrationId),
  ]);
  const nowUnixUs = BigInt(nowUnixMs()) * 1_000n;
  const explanation = explainMigration({ migration, source, destination, receipt, nowUnixUs });
  display.rows([explanationJson(explanation)], () => explanationText(explanation, nowUnixUs));
  return EXIT_CODES.done;
}

function livingHost(client: CommandPorts["client"], hostId: string): Promise<Host | null> {
  return nullWhere("HOST_UNKNOWN", client.getHost(hostId));
}

/** One that is not in the history yet has none. */
function keptReceipt(client: CommandPorts["client"], migrationId: string): Promise<Receipt | null> {
  return nullWhere("MIGRATION_UNKNOWN", client.getReceipt(migrationId));
}

async function nullWhere<T>(reason: string, answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (thrown) {
    if (SwitchoverError.from(thrown).reason === reason) return null;
    throw thrown;
  }
}
