import { setImmediate as turn } from "node:timers/promises";
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { LabelWords } from "./label-words.ts";
import { SWITCHOVER_BUCKETS_S } from "./timing.ts";
import { TimingMetric } from "./timing-metric.ts";

/** Counts things by the values of its labels, in their order. */
export interface Tally {
  count(...texts: readonly string[]): void;
}

/** One value of a gauge, and those of its labels. */
export interface GaugeValue {
  readonly value: number;
  readonly texts?: readonly string[];
}

interface Words {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
}

/**
 * All metrics of one program; only this folder knows prom-client. Every label goes through LabelWords, so that the number
 * of series is bounded whatever is counted; no guest, migration or other host is ever a label.
 */
export class Metrics {
  readonly #registry = new Registry();

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Begins what is measured all the time: of the process, its event loop and its heap. */
  watchProcess(): void {
    collectDefaultMetrics({ register: this.#registry });
  }

  tally(words: Words): Tally {
    const counter = new Counter(this.#describe(words));
    const labelled = labelsBy(words);
    return { count: (...texts) => counter.inc(labelled(texts)) };
  }

  /** `read` says at each scrape what there is; what it leaves out is not there. */
  gauge(words: Words, read: () => Iterable<GaugeValue>): void {
    const labelled = labelsBy(words);
    new Gauge({
      ...this.#describe(words),
      collect() {
        this.reset();
        for (const { value, texts = [] } of read()) this.set(labelled(texts), value);
      },
    });
  }

  /** As a gauge, of what only grows. */
  total(words: Words, read: () => Iterable<GaugeValue>): void {
    const labelled = labelsBy(words);
    new Counter({
      ...this.#describe(words),
      collect() {
        this.reset();
        for (const { value, texts = [] } of read()) this.inc(labelled(texts), value);
      },
    });
  }

  /** A histogram of seconds. */
  timing(
    { name, help, labels = [] }: Words,
    bucketsS: readonly number[] = SWITCHOVER_BUCKETS_S,
  ): TimingMetric {
    return new TimingMetric({ name, help, labelNames: labels, bucketsS, registry: this.#registry });
  }

  /**
   * All of it as Prometheus reads it. Metric by metric, with a turn of the event loop between them: a switchover does not
   * wait for a scrape.
   */
  async text(): Promise<string> {
    const parts: string[] = [];
    for (const { name } of this.#registry.getMetricsAsArray()) {
      parts.push(await this.#registry.getSingleMetricAsString(name));
      await turn();
    }
    return `${parts.join("\n\n")}\n`;
  }

  /** In prom-client's words. */
  #describe({ name, help, labels = [] }: Words) {
    return { name, help, labelNames: [...labels], registers: [this.#registry] };
  }
}

function labelsBy({ labels = [] }: Words): (texts: readonly string[]) => Record<string, string> {
  const words = labels.map(() => new LabelWords());
  return (texts) =>
    Object.fromEntries(labels.map((label, index) => [label, words[index]?.admit(texts[index] ?? "") ?? ""]));
}
