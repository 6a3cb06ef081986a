import { hostname } from "node:os";
import { PAUSES } from "../../agent/guest/stay-registered.ts";
import { invalidArgument } from "../../proto/error.ts";
import { parseHostId } from "../../proto/ids.ts";
import { parseAddress, parseNatsUrl, parsePath, parseTarget, parseWhole } from "../config/parsers.ts";
import type { Fault, Values } from "../config/read-settings.ts";
import { onOff, optional, withDefault } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { LOG_SETTINGS } from "../log/log-settings.ts";
import { METRICS_SETTINGS } from "../metrics/metrics-settings.ts";
import { isLoopback } from "../tls/loopback.ts";
import { checkTlsValues, TLS_SETTINGS } from "../tls/tls-settings.ts";
import { CPU_PRIORITIES, type CpuPriority } from "./cpu-priority.ts";

/** 30 days. */
const LONGEST_ORPHAN_MS = 2_592_000_000;

export const AGENT_SETTINGS = {
  "host-id": withDefault(parseHostId, hostname().split(".")[0] ?? "", {
    placeholder: "ID",
    help: "Name of this host in Switchover",
  }),
  listen: withDefault(parseTarget, "127.0.0.1:7443", {
    placeholder: "TARGET",
    help: "gRPC address, HOST:PORT or unix:/PATH",
  }),
  advertise: optional(parseTarget, "default as --listen", {
    placeholder: "TARGET",
    help: "Where coordinators reach this agent",
  }),
  "nats-url": withDefault(parseNatsUrl, "nats://127.0.0.1:4222", {
    placeholder: "URL",
    help: "NATS servers, separated by commas",
  }),
  "migration-address": withDefault(parseAddress, "127.0.0.1", {
    placeholder: "ADDRESS",
    help: "Address that incoming transfers of QEMU are opened on",
  }),
  "migration-tls-dir": optional(parsePath, "required unless --plaintext-migration is given", {
    placeholder: "PATH",
    help: "Folder where QEMU finds ca-cert.pem, server-cert.pem, client-cert.pem and their keys",
  }),
  "migration-tls-subject": withDefault(parseSubject, "OU=migration,CN={host}", {
    placeholder: "SUBJECT",
    help: "Subject of another host's migration certificate, {host} for its id, as QEMU writes it",
  }),
  "plaintext-migration": onOff("Let guests' memory go from host to host as it is, to whoever connects first"),
  "state-dir": withDefault(parsePath, "/var/lib/switchover/agent", {
    placeholder: "PATH",
    help: "Journals and the feed's spool; this agent's alone, made where absent",
  }),
  "remove-orphans-after-ms": optional(parseWhole(1_000, LONGEST_ORPHAN_MS), "default never", {
    placeholder: "MS",
    help: "Remove devices that this agent made and that no guest has used for so long",
  }),
  "expedite-rcu": withDefault(parseExpediteRcu, "as-needed", {
    placeholder: "WHEN",
    help: "as-needed (a macvtap that is deregistered goes down in 0.06 ms, not in 16) or never",
  }),
  "stay-registered-for": optional(parsePauses, "default none: whatever stops a guest's CPUs deregisters it", {
    placeholder: "PAUSES",
    help: `Pauses for which a guest stays registered, separated by commas: ${PAUSES.join(", ")}`,
  }),
  "cpu-priority": withDefault(parseCpuPriority, "high", {
    placeholder: "PRIORITY",
    help: "high (nice -20, ahead of the guests of its control group), realtime (of all guests) or normal",
  }),
  announcements: withDefault(parseAnnouncements, "all", {
    placeholder: "WHOSE",
    help: "Who announces a guest that has started: all (its VMM, and this agent with ARP and ND) or vmm",
  }),
  ...TLS_SETTINGS,
  ...METRICS_SETTINGS,
  ...LOG_SETTINGS,
};

function parseAnnouncements(text: string, field: string): "all" | "vmm" {
  if (text === "all" || text === "vmm") return text;
  throw invalidArgument(field, `${field}: "${text}" is neither all nor vmm.`);
}

/** QEMU's run states; not those of a switchover or a shutdown, which leave nobody to talk to. */
function parsePauses(text: string, field: string): readonly string[] {
  const pauses = text.split(",").map((part) => part.trim());
  const unknown = pauses.find((pause) => !PAUSES.some((known) => known === pause));
  if (unknown === undefined) return pauses;
  throw invalidArgument(field, `${field}: "${unknown}" is none of ${PAUSES.join(", ")}.`);
}

function parseCpuPriority(text: string, field: string): CpuPriority {
  const priority = CPU_PRIORITIES.find((known) => known === text);
  if (priority !== undefined) return priority;
  throw invalidArgument(field, `${field}: "${text}" is none of ${CPU_PRIORITIES.join(", ")}.`);
}

function parseExpediteRcu(text: string, field: string): "as-needed" | "never" {
  if (text === "as-needed" || text === "never") return text;
  throw invalidArgument(field, `${field}: "${text}" is neither as-needed nor never.`);
}

export type AgentValues = Values<typeof AGENT_SETTINGS>;

export const AGENT_USAGE: UsageText = {
  synopsis: "switchover-agent [flags]",
  purpose:
    "Owns the guest-facing devices of one host and lets a guest's MAC address be there exactly while its CPUs run.\n" +
    "Needs CAP_NET_ADMIN, and CAP_NET_RAW for announcements. Guests keep running while it is stopped.",
  environment: "every flag",
  examples: [
    "switchover-agent --host-id ha --listen 10.0.0.1:7443 --nats-url nats://10.0.0.9:4222 \\",
    "  --migration-address 10.0.0.1 --migration-tls-dir /etc/switchover/migration \\",
    "  --tls-cert tls.crt --tls-key tls.key --tls-ca ca.crt",
    "SWITCHOVER_HOST_ID=ha SWITCHOVER_LOG_LEVEL=debug switchover-agent --insecure-loopback",
  ],
};

function parseSubject(text: string, field: string): string {
  if (text.includes("{host}") && text.length <= 1_024) return text;
  throw invalidArgument(
    field,
    `${field}: "${text.slice(0, 64)}" does not say where the host is named: {host}.`,
  );
}

function migrationFaults(values: AgentValues): readonly Fault[] {
  const isSecured = values["migration-tls-dir"] !== undefined;
  const isPlain = values["plaintext-migration"] === "on";
  if (isSecured && isPlain) {
    const sentence = "--plaintext-migration and --migration-tls-dir exclude each other.";
    return [{ name: "--plaintext-migration", sentence }];
  }
  // Who asked for plain text on this host asked for that of a guest which stays there, too.
  const staysHere = values["insecure-loopback"] === "on" && isLoopback(`${values["migration-address"]}:0`);
  if (isSecured || isPlain || staysHere) return [];
  const sentence =
    "--migration-tls-dir is required, or --plaintext-migration where nobody else is on that network.";
  return [{ name: "--migration-tls-dir", sentence }];
}

const WILDCARD = /^(0\.0\.0\.0|\[::\]|::)(:|$)/;

/** What others cannot connect to must not be told to them. */
export function checkAgentValues(values: AgentValues): readonly Fault[] {
  const faults: Fault[] = [];
  const advertised = values.advertise ?? values.listen;
  if (WILDCARD.test(advertised)) {
    const sentence = `--advertise is required: coordinators cannot connect to ${advertised}.`;
    faults.push({ name: "--advertise", sentence });
  }
  if (WILDCARD.test(values["migration-address"])) {
    const sentence = `--migration-address: a source cannot connect to ${values["migration-address"]}.`;
    faults.push({ name: "--migration-address", sentence });
  }
  faults.push(...migrationFaults(values));
  const targets = [["--listen", values.listen] as const];
  const advertise = values.advertise === undefined ? [] : [["--advertise", values.advertise] as const];
  faults.push(...checkTlsValues(values, [...targets, ...advertise]));
  return faults;
}
