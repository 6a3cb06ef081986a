import type { Security } from "../tls/security.ts";
import type { Metrics } from "./metrics.ts";

/** Meters a program's certificates; returns who counts the connections that TLS refuses, by reason. */
export function meterSecurity(metrics: Metrics, security: Security): (reason: string) => void {
  const certificates = security.t === "tls" ? [security.certificates] : [];
  metrics.gauge(
    {
      name: "switchover_tls_certificate_end_timestamp_seconds",
      help: "When the certificate in use ends, in Unix time; absent without TLS.",
    },
    () => certificates.map(({ current }) => ({ value: current.notAfterUnixMs / 1_000 })),
  );
  metrics.gauge(
    {
      name: "switchover_tls_certificate_refused",
      help: "1 while the certificate files as they are now cannot be used, and the last ones are; absent without TLS.",
    },
    () => certificates.map(({ refused }) => ({ value: refused === undefined ? 0 : 1 })),
  );
  const refused = metrics.tally({
    name: "switchover_tls_connections_refused_total",
    help: "Connections that TLS let nobody in by, by reason (docs/tls.md).",
    labels: ["reason"],
  });
  return (reason) => refused.count(reason);
}
