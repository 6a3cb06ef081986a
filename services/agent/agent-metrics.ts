import type { AgentCensus, AgentMeter } from "../../agent/agent-meter.ts";
import type { Guest } from "../../agent/guest/guest.ts";
import type { GuestFeedEvent } from "../../agent/guest/guest-operation.ts";
import { handOffRouteToJSON } from "../../proto/gen/switchover/v1/feed.ts";
import { spanKindToJSON } from "../../proto/gen/switchover/v1/receipt.ts";
import { enumWord } from "../metrics/enum-word.ts";
import type { Metrics, Tally } from "../metrics/metrics.ts";
import type { TimingMetric } from "../metrics/timing-metric.ts";
import { type GateEvent, GateSpans } from "./gate-spans.ts";

const ROLES: readonly Guest["role"]["kind"][] = [
  "resident",
  "outgoing",
  "relinquished",
  "forgotten",
  "vacant",
  "incoming",
  "fenced",
];
/** Instances whose registration is being mended; beyond that the oldest is mended for an unknown reason. */
const DRIFTS_KEPT = 1_024;

type MeteredGuest = Parameters<AgentMeter["said"]>[0];

/** What an agent's events say, counted. */
export class AgentMetrics implements AgentMeter {
  readonly #spans: GateSpans;
  readonly #span: TimingMetric;
  readonly #events: Tally;
  readonly #alarms: Tally;
  readonly #driftsFound: Tally;
  readonly #driftsMended: Tally;
  readonly #mending: TimingMetric;
  readonly #handOffs: Tally;
  readonly #drifts = new Map<string, { readonly reason: string; readonly noticedAtUnixUs: bigint }>();

  constructor(metrics: Metrics, { hostId, version }: { readonly hostId: string; readonly version: string }) {
    this.#spans = new GateSpans(hostId);
    metrics.gauge(
      { name: "switchover_agent_info", help: "1, for the labels.", labels: ["host_id", "version"] },
      () => [{ texts: [hostId, version], value: 1 }],
    );
    this.#span = metrics.timing({
      name: "switchover_agent_span_seconds",
      help: "What a guest's stop or start took on this host, by the receipt's kinds of span; outside migrations too.",
      labels: ["span"],
    });
    this.#events = metrics.tally({
      name: "switchover_agent_events_total",
      help: "Events that the agent said, by the feed's names.",
      labels: ["event"],
    });
    this.#alarms = metrics.tally({
      name: "switchover_agent_alarms_total",
      help: "Alarms raised, by reason.",
      labels: ["reason"],
    });
    this.#driftsFound = metrics.tally({
      name: "switchover_agent_drifts_found_total",
      help: "Registrations that others had changed, by reason.",
      labels: ["reason"],
    });
    this.#driftsMended = metrics.tally({
      name: "switchover_agent_drifts_mended_total",
      help: "Registrations that were put right again, by the reason that they were found for.",
      labels: ["reason"],
    });
    this.#mending = metrics.timing({
      name: "switchover_agent_mending_seconds",
      help: "From the notice of a drift to the registration read back.",
    });
    this.#handOffs = metrics.tally({
      name: "switchover_agent_hand_offs_received_total",
      help: "Words of sources that arrived here, by the way that they came: GRPC where NATS was too slow or away.",
      labels: ["route"],
    });
  }

  said(guest: MeteredGuest, event: GuestFeedEvent, atUnixUs: number): void {
    const instance = `${guest.guestId}/${guest.instanceId}`;
    this.#events.count(event.$case);
    switch (event.$case) {
      case "alarmRaised":
        this.#alarms.count(event.value.reason);
        return;
      case "registrationDrifted":
        this.#driftsFound.count(event.value.reason);
        this.#remember(instance, event.value);
        return;
      case "registrationMended":
        this.#mended(instance, event.value.mendedAtUnixUs);
        return;
      case "handOffReceived":
        this.#handOffs.count(enumWord("HAND_OFF_ROUTE_", handOffRouteToJSON(event.value.route)));
        this.#hear(instance, event, atUnixUs);
        return;
      case "cpusStopped":
      case "nicsDeregistered":
      case "destinationReady":
      case "nicsRegistered":
      case "cpusStarted":
      case "announced":
        this.#hear(instance, event, atUnixUs);
        return;
      default:
        return;
    }
  }

  #hear(instance: string, event: GateEvent, atUnixUs: number): void {
    for (const { kind, durationUs } of this.#spans.hear(instance, event, BigInt(atUnixUs))) {
      this.#span.at(enumWord("SPAN_KIND_", spanKindToJSON(kind))).record(Number(durationUs) / 1_000_000);
    }
  }

  #remember(instance: string, drift: { readonly reason: string; readonly noticedAtUnixUs: bigint }): void {
    this.#drifts.delete(instance);
    this.#drifts.set(instance, drift);
    const [oldest = instance] = this.#drifts.keys();
    if (this.#drifts.size > DRIFTS_KEPT) this.#drifts.delete(oldest);
  }

  #mended(instance: string, mendedAtUnixUs: bigint): void {
    const drift = this.#drifts.get(instance);
    this.#drifts.delete(instance);
    this.#driftsMended.count(drift?.reason ?? "");
    if (drift === undefined) return;
    this.#mending.at().record(Number(mendedAtUnixUs - drift.noticedAtUnixUs) / 1_000_000);
  }
}

/** What there is on the host, read at each scrape. */
export function meterCensus(metrics: Metrics, census: AgentCensus, unixUs: () => number): void {
  metrics.gauge(
    {
      name: "switchover_agent_instances",
      help: "Instances of guests under their gates, by role (ARCHITECTURE.md).",
      labels: ["role"],
    },
    () => {
      const roles = census.roles();
      return ROLES.map((role) => ({ texts: [role], value: roles.get(role) ?? 0 }));
    },
  );
  metrics.gauge(
    {
      name: "switchover_agent_feed_unsent_events",
      help: "Events in the spool that the feed is not known to hold.",
    },
    () => [{ value: census.unsentEvents() }],
  );
  metrics.gauge(
    {
      name: "switchover_agent_feed_oldest_unsent_seconds",
      help: "How long ago the oldest of those was said; 0 where there is none.",
    },
    () => {
      const oldestUnsentUnixUs = census.oldestUnsentUnixUs();
      return [{ value: oldestUnsentUnixUs === null ? 0 : Math.max(0, unixUs() - oldestUnsentUnixUs) / 1e6 }];
    },
  );
}
