import { knownCapabilities } from "../../proto/agent-capabilities.ts";
import { Host } from "../../proto/gen/switchover/v1/host.ts";
import { parseHostId } from "../../proto/ids.ts";
import { AGENT_CAPABILITIES } from "../agent/capabilities.ts";
import type { CommandPorts } from "./commands.ts";
import { EXIT_CODES } from "./exit-code.ts";
import { renderTable } from "./table.ts";

const PAGE_SIZE = 500;

export async function hosts({ client, display, signal }: CommandPorts): Promise<number> {
  const found: Host[] = [];
  for (let pageToken = "", isLast = false; !isLast; ) {
    const page = await client.listHosts({ pageSize: PAGE_SIZE, pageToken });
    found.push(...page.hosts);
    pageToken = page.nextPageToken;
    isLast = pageToken === "" || signal.aborted;
  }
  display.rows(
    found.map((host) => Host.toJSON(host)),
    () => (found.length === 0 ? "No agent lives." : renderTable(HEADINGS, found.map(rowOf))),
  );
  return EXIT_CODES.done;
}

export async function host(hostId: string, { client, display }: CommandPorts): Promise<number> {
  parseHostId(hostId, "HOST_ID");
  const found = await client.getHost(hostId);
  display.rows([Host.toJSON(found)], () => describe(found));
  return EXIT_CODES.done;
}

const HEADINGS = ["HOST", "AGENT AT", "VERSION", "HEARTBEAT", "LACKS"];

function rowOf(host: Host): readonly string[] {
  return [host.hostId, host.target, host.version, ageOf(host), lacksOf(host)];
}

function ageOf({ heartbeatAgeMs }: Host): string {
  return `${(Number(heartbeatAgeMs) / 1_000).toFixed(1)} s ago`;
}

function lacksOf({ capabilities }: Host): string {
  const known = knownCapabilities(capabilities);
  const lacking = AGENT_CAPABILITIES.filter((name) => !known.includes(name));
  return capabilities.length === 0 ? `${lacking.join(" ")} (says nothing of it)` : lacking.join(" ");
}

function describe(host: Host): string {
  const rows = [
    ["host", host.hostId],
    ["agent at", host.target],
    ["version", host.version],
    ["heartbeat", ageOf(host)],
    ["knows", knownCapabilities(host.capabilities).join("\n           ")],
  ];
  return rows.map(([name = "", value]) => `${name.padEnd(10)} ${value}`).join("\n");
}
