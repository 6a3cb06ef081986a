import type { AdmissionCensus } from "../../coordinator/admission/admission-census.ts";
import type { AdmissionLimits } from "../../coordinator/admission/admission-limits.ts";
import type { Standing } from "../../coordinator/admission/plan-admission.ts";
import { switchoverSpans } from "../../coordinator/inventory/switchover-spans.ts";
import type { CompleteState } from "../../coordinator/migration/complete-state.ts";
import { isTerminal, PHASE_EDGES } from "../../coordinator/migration/phase-edges.ts";
import type { MigrationMeter } from "../../coordinator/runner/migration-meter.ts";
import {
  type MigrationMode,
  migrationModeToJSON,
  outcomeToJSON,
  Phase,
  phaseToJSON,
} from "../../proto/gen/switchover/v1/migration.ts";
import { spanKindToJSON } from "../../proto/gen/switchover/v1/receipt.ts";
import { enumWord } from "../metrics/enum-word.ts";
import type { Metrics, Tally } from "../metrics/metrics.ts";
import { LONG_BUCKETS_S, type Timing } from "../metrics/timing.ts";
import type { TimingMetric } from "../metrics/timing-metric.ts";

/** What becomes of migrations, counted. */
export class CoordinatorMetrics implements MigrationMeter {
  readonly #phases: Tally;
  readonly #lag: Timing;
  readonly #ended: Tally;
  readonly #span: TimingMetric;
  readonly #phase: TimingMetric;

  constructor(metrics: Metrics) {
    this.#phases = metrics.tally({
      name: "switchover_coordinator_phases_entered_total",
      help: "Phases that migrations entered, counted by the coordinator that brought them to the feed.",
      labels: ["phase"],
    });
    const lag = metrics.timing({
      name: "switchover_coordinator_phase_lag_seconds",
      help: "From a phase's entry to its being in the feed.",
    });
    this.#lag = lag.at();
    this.#ended = metrics.tally({
      name: "switchover_coordinator_migrations_ended_total",
      help: "Migrations that have ended, each counted by one coordinator; reason NONE where it was completed.",
      labels: ["phase", "outcome", "reason"],
    });
    this.#span = metrics.timing({
      name: "switchover_coordinator_span_seconds",
      help: "Spans of ended migrations, as their receipts have them.",
      labels: ["span", "mode"],
    });
    this.#phase = metrics.timing(
      {
        name: "switchover_coordinator_phase_seconds",
        help: "How long ended migrations were in each phase, each time.",
        labels: ["phase"],
      },
      LONG_BUCKETS_S,
    );
  }

  phasePublished(phase: Phase, lagUs: number): void {
    this.#phases.count(phaseWord(phase));
    this.#lag.record(lagUs / 1_000_000);
  }

  ended({ migration }: CompleteState): void {
    const { phase, outcome, reasonCode, phases, instants, spec, clockOffset } = migration;
    this.#ended.count(phaseWord(phase), enumWord("OUTCOME_", outcomeToJSON(outcome)), reasonCode);
    for (const [index, entry] of phases.entries()) {
      const next = phases[index + 1];
      if (next === undefined) continue;
      this.#phase.at(phaseWord(entry.phase)).record(Number(next.atUnixUs - entry.atUnixUs) / 1_000_000);
    }
    const mode = modeWord(spec.mode);
    for (const { kind, durationUs } of switchoverSpans(instants, clockOffset)) {
      const span = enumWord("SPAN_KIND_", spanKindToJSON(kind));
      this.#span.at(span, mode).record(Number(durationUs) / 1_000_000);
    }
  }
}

function phaseWord(phase: Phase): string {
  return enumWord("PHASE_", phaseToJSON(phase));
}

function modeWord(mode: MigrationMode): string {
  return enumWord("MIGRATION_MODE_", migrationModeToJSON(mode));
}

const OPEN_PHASES = Object.keys(PHASE_EDGES)
  .map((key) => Number(key) as Phase)
  .filter((phase) => phase !== Phase.UNSPECIFIED && !isTerminal(phase));
const WAITS_FOR: readonly Standing["waitsFor"][] = ["drain", "source", "destination", "all", "turn"];

export interface CensusParts {
  readonly coordinatorId: string;
  readonly version: string;
  readonly limits: AdmissionLimits;
  readonly census: () => AdmissionCensus;
  readonly driven: () => number;
}

/** What there is in the cloud, as this coordinator has heard; read at each scrape. */
export function meterCensus(metrics: Metrics, parts: CensusParts): void {
  const { coordinatorId, version, limits, census, driven } = parts;
  metrics.gauge(
    {
      name: "switchover_coordinator_info",
      help: "1, for the labels.",
      labels: ["coordinator_id", "version"],
    },
    () => [{ texts: [coordinatorId, version], value: 1 }],
  );
  metrics.gauge(
    {
      name: "switchover_coordinator_open_migrations",
      help: "Open migrations of the whole cloud by phase; every coordinator says the same: take the max.",
      labels: ["phase"],
    },
    () => {
      const phases = census().phases();
      return OPEN_PHASES.map((phase) => ({ texts: [phaseWord(phase)], value: phases.get(phase) ?? 0 }));
    },
  );
  metrics.gauge(
    { name: "switchover_coordinator_driven_migrations", help: "Migrations that this coordinator drives." },
    () => [{ value: driven() }],
  );
  metrics.gauge(
    {
      name: "switchover_coordinator_admission_waiting",
      help: "Migrations in line, by what they wait for: their source, their destination, all, or their turn.",
      labels: ["waits_for"],
    },
    () => {
      const waiting = census().waiting();
      return WAITS_FOR.map((waitsFor) => ({ texts: [waitsFor], value: waiting.get(waitsFor) ?? 0 }));
    },
  );
  metrics.gauge(
    {
      name: "switchover_coordinator_admission_waiting_limit",
      help: "How many may be in line (--max-queued-migrations).",
    },
    () => [{ value: limits.queued }],
  );
  metrics.gauge(
    {
      name: "switchover_coordinator_admission_slots",
      help: "Migrations that were let begin and have not ended.",
    },
    () => [{ value: census().slotsUsed() }],
  );
  metrics.gauge(
    {
      name: "switchover_coordinator_admission_slots_limit",
      help: "How many may be under way in all (--max-migrations).",
    },
    () => [{ value: limits.inAll }],
  );
}
