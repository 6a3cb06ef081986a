import type { Values } from "../config/read-settings.ts";
import type { UsageText } from "../config/usage.ts";
import { type Command, coordinatorCommand } from "./command-line.ts";
import { type CommandPorts, migrate, show, watch } from "./commands.ts";
import { explain } from "./explain.ts";
import { EXPLAIN_SETTINGS, EXPLAIN_USAGE } from "./explain-settings.ts";
import {
  CANCEL_USAGE,
  checkResolveValues,
  INTERVENTION_SETTINGS,
  PAUSE_USAGE,
  POST_COPY_USAGE,
  RECOVER_USAGE,
  RESOLVE_SETTINGS,
  RESOLVE_USAGE,
} from "./intervention-settings.ts";
import { cancel, pause, recover, resolve, switchToPostCopy } from "./interventions.ts";
import { list } from "./list.ts";
import { checkListValues, LIST_SETTINGS, LIST_USAGE } from "./list-settings.ts";
import { checkMigrateValues, MIGRATE_SETTINGS, MIGRATE_USAGE } from "./migrate-settings.ts";
import { receipt } from "./receipt.ts";
import { RECEIPT_SETTINGS, RECEIPT_USAGE } from "./receipt-settings.ts";
import { SHOW_SETTINGS, SHOW_USAGE, WATCH_SETTINGS, WATCH_USAGE } from "./show-settings.ts";
import { watchOpen } from "./watch-open.ts";

/** A command that asks something of a migration that has begun. */
function intervention(
  name: string,
  usage: UsageText,
  run: (
    values: Values<typeof INTERVENTION_SETTINGS>,
    migrationId: string,
    ports: CommandPorts,
  ) => Promise<number>,
): Command {
  return coordinatorCommand(
    name,
    { settings: INTERVENTION_SETTINGS, usage, operands: ["MIGRATION_ID"] },
    run,
  );
}

/** The commands about migrations. */
export const MIGRATION_COMMANDS: readonly Command[] = [
  coordinatorCommand(
    "migrate",
    { settings: MIGRATE_SETTINGS, usage: MIGRATE_USAGE, operands: [], check: checkMigrateValues },
    (values, _operand, ports) => migrate(values, ports),
  ),
  coordinatorCommand(
    "show",
    { settings: SHOW_SETTINGS, usage: SHOW_USAGE, operands: ["MIGRATION_ID"] },
    (_values, migrationId, ports) => show(migrationId, ports),
  ),
  coordinatorCommand(
    "list",
    { settings: LIST_SETTINGS, usage: LIST_USAGE, operands: [], check: checkListValues },
    (values, _operand, ports) => list(values, ports),
  ),
  coordinatorCommand(
    "watch",
    { settings: WATCH_SETTINGS, usage: WATCH_USAGE, operands: ["[MIGRATION_ID]"] },
    (values, migrationId, ports) =>
      migrationId === ""
        ? watchOpen(values.json === "on" ? "json" : "text", ports)
        : watch(migrationId, ports),
  ),
  coordinatorCommand(
    "explain",
    { settings: EXPLAIN_SETTINGS, usage: EXPLAIN_USAGE, operands: ["MIGRATION_ID"] },
    (_values, migrationId, ports) => explain(migrationId, ports),
  ),
  coordinatorCommand(
    "receipt",
    { settings: RECEIPT_SETTINGS, usage: RECEIPT_USAGE, operands: ["MIGRATION_ID"] },
    (_values, migrationId, ports) => receipt(migrationId, ports),
  ),
  intervention("cancel", CANCEL_USAGE, cancel),
  intervention("post-copy", POST_COPY_USAGE, switchToPostCopy),
  intervention("pause", PAUSE_USAGE, pause),
  intervention("recover", RECOVER_USAGE, recover),
  coordinatorCommand(
    "resolve",
    {
      settings: RESOLVE_SETTINGS,
      usage: RESOLVE_USAGE,
      operands: ["MIGRATION_ID"],
      check: checkResolveValues,
    },
    resolve,
  ),
];
