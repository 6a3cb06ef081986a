import { hostname } from "node:os";
import { parseHostId } from "../../proto/ids.ts";
import { parseAddressAndPort, parseNatsUrl, parsePath, parseTarget, parseWhole } from "../config/parsers.ts";
import type { Fault, Values } from "../config/read-settings.ts";
import { optional, repeated, withDefault } from "../config/setting.ts";
import type { UsageText } from "../config/usage.ts";
import { LOG_SETTINGS } from "../log/log-settings.ts";
import { METRICS_SETTINGS } from "../metrics/metrics-settings.ts";
import { checkTlsValues, TLS_SETTINGS } from "../tls/tls-settings.ts";
import { ADMISSION_SETTINGS } from "./admission-settings.ts";

export const COORDINATOR_SETTINGS = {
  "coordinator-id": withDefault(parseHostId, hostname().split(".")[0] ?? "", {
    placeholder: "ID",
    help: "Name of this coordinator; no two share one",
  }),
  listen: repeated(parseTarget, "127.0.0.1:7440", {
    placeholder: "TARGET",
    help: "gRPC address, HOST:PORT or unix:/PATH",
  }),
  "nats-url": optional(parseNatsUrl, "absent: starts a nats-server of its own", {
    placeholder: "URL",
    help: "NATS servers, separated by commas",
  }),
  "nats-listen": withDefault(parseAddressAndPort, "127.0.0.1:4222", {
    placeholder: "ADDRESS[:PORT]",
    help: "Where its own nats-server listens; port 0: any free one",
  }),
  "nats-replicas": withDefault(parseWhole(1, 5), "1", {
    placeholder: "N",
    help: "Copies of streams and buckets that this coordinator makes; 3 in a cluster",
  }),
  "history-days": optional(parseWhole(1, 3_650), "as it is; 30 where it is new", {
    placeholder: "DAYS",
    help: "How long ended migrations, and their receipts, are kept",
  }),
  "history-migrations": optional(parseWhole(100, 500_000), "as it is; 100000 where it is new", {
    placeholder: "N",
    help: "How many of them are kept; beyond that the oldest go",
  }),
  "data-dir": withDefault(parsePath, "/var/lib/switchover/coordinator", {
    placeholder: "PATH",
    help: "Store of its own nats-server, made where absent",
  }),
  "fence-command": optional(parsePath, "absent: no host is fenced", {
    placeholder: "PATH",
    help: "Program that powers off the host it is given as argument; exit 0: that host is dead",
  }),
  "fence-timeout-ms": withDefault(parseWhole(1_000, 600_000), "60000", {
    placeholder: "MS",
    help: "How long one run of it may take",
  }),
  "fence-after-ms": withDefault(parseWhole(10_000, 86_400_000), "10000", {
    placeholder: "MS",
    help: "How long a host must have been silent; longer than an agent's restart",
  }),
  ...ADMISSION_SETTINGS,
  ...TLS_SETTINGS,
  ...METRICS_SETTINGS,
  ...LOG_SETTINGS,
};

export type CoordinatorValues = Values<typeof COORDINATOR_SETTINGS>;

export const COORDINATOR_USAGE: UsageText = {
  synopsis: "switchover-coordinator [flags]",
  purpose:
    "Drives migrations: takes them from control planes by gRPC, has both agents do their part, and publishes the feed.\n" +
    "Any number of coordinators may run on one NATS; all they know is there.",
  environment: "every flag",
  examples: [
    "switchover-coordinator --insecure-loopback",
    "switchover-coordinator --listen 10.0.0.9:7440 --listen unix:/run/switchover.sock --nats-listen 10.0.0.9 \\",
    "  --tls-cert tls.crt --tls-key tls.key --tls-ca ca.crt",
    "switchover-coordinator --config /etc/switchover/coordinator.yaml --nats-replicas 3",
  ],
};

/** A nats-server of its own is one server; and plain text stays on the host. */
export function checkCoordinatorValues(values: CoordinatorValues): readonly Fault[] {
  const faults = checkTlsValues(
    values,
    values.listen.map((target) => ["--listen", target]),
  );
  if (values["nats-url"] !== undefined || values["nats-replicas"] === 1) return faults;
  const sentence = "--nats-replicas: more than one copy needs a cluster, given by --nats-url.";
  return [...faults, { name: "--nats-replicas", sentence }];
}
