import { backup, restore } from "./backup.ts";
import { BACKUP_SETTINGS, BACKUP_USAGE, RESTORE_SETTINGS, RESTORE_USAGE } from "./backup-settings.ts";
import { type Command, command } from "./command-line.ts";
import { confirmAtTerminal, withNats } from "./with-client.ts";

/** The commands to NATS, where coordinators keep all they know: none of them needs to live. */
export const NATS_COMMANDS: readonly Command[] = [
  command(
    "backup",
    { settings: BACKUP_SETTINGS, usage: BACKUP_USAGE, operands: ["FILE"] },
    (values, [file = ""]) =>
      withNats(values["nats-url"], (link) => backup(values, file, link, process.stdout)),
  ),
  command(
    "restore",
    { settings: RESTORE_SETTINGS, usage: RESTORE_USAGE, operands: ["FILE"] },
    (values, [file = ""]) =>
      withNats(values["nats-url"], (link) =>
        restore(values, file, { link, screen: process.stdout, confirm: confirmAtTerminal }),
      ),
  ),
];
