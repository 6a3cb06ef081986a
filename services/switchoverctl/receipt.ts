import { Receipt } from "../../proto/gen/switchover/v1/receipt.ts";
import { parseMigrationId } from "../../proto/ids.ts";
import type { CommandPorts } from "./commands.ts";
import { EXIT_CODES } from "./exit-code.ts";
import { renderReceipt } from "./receipt-text.ts";

export async function receipt(migrationId: string, { client, display }: CommandPorts): Promise<number> {
  parseMigrationId(migrationId, "MIGRATION_ID");
  const found = await client.getReceipt(migrationId);
  display.rows([Receipt.toJSON(found)], () => renderReceipt(found));
  return EXIT_CODES.done;
}
