import { Orphan, OrphanKind } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import type { AgentClient } from "./agent-client.ts";
import type { Screen } from "./display.ts";
import { EXIT_CODES } from "./exit-code.ts";
import type { OrphansValues } from "./orphans-settings.ts";

/** Shows what is left over on a host, or removes it and shows what was removed; returns the exit code. */
export async function orphans(
  values: OrphansValues,
  client: Pick<AgentClient, "listOrphans" | "removeOrphans">,
  screen: Screen,
): Promise<number> {
  const say = (sentence: string): void => {
    if (values.json === "off") screen.write(`${sentence}\n`);
  };
  const show = (found: readonly Orphan[], deed: string): void => {
    for (const orphan of found) {
      screen.write(
        values.json === "on" ? `${JSON.stringify(Orphan.toJSON(orphan))}\n` : `${deed}${wordsOf(orphan)}\n`,
      );
    }
  };
  if (values.remove.length === 0 && values.all === "off") {
    const found = await client.listOrphans();
    show(found, "");
    if (found.length === 0) say("No orphans.");
    return EXIT_CODES.done;
  }
  const isTrial = values["dry-run"] === "on";
  const removed = await client.removeOrphans({
    deviceNames: [...values.remove],
    all: values.all === "on",
    validateOnly: isTrial,
  });
  show(removed, isTrial ? "would remove " : "removed ");
  if (removed.length === 0) say("Nothing to remove.");
  const staying = values.remove.filter((name) => !removed.some(({ deviceName }) => deviceName === name));
  for (const name of staying) say(`${name} stays: it is no orphan, or a process holds it open.`);
  return staying.length === 0 ? EXIT_CODES.done : EXIT_CODES.failed;
}

function wordsOf({ kind, deviceName, bridge, macAddress }: Orphan): string {
  const where = bridge === "" ? "" : ` on ${bridge}`;
  return kind === OrphanKind.FDB_ENTRY
    ? `entry ${macAddress} -> ${deviceName}${where}`
    : `device ${deviceName}${where}`;
}
