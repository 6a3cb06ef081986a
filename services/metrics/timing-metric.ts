import { Histogram, type Registry } from "prom-client";
import { LabelWords } from "./label-words.ts";
import { Timing } from "./timing.ts";

export interface TimingMetricOptions {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly bucketsS: readonly number[];
  readonly registry: Registry;
}

interface Labelled {
  readonly labels: Readonly<Record<string, string>>;
  readonly timing: Timing;
}

/**
 * A histogram of prom-client's whose observations are counted by Timings: prom-client itself allocates for each one, and
 * hashes its labels.
 */
export class TimingMetric extends Histogram {
  readonly #options: TimingMetricOptions;
  readonly #words: readonly LabelWords[];
  readonly #timings = new Map<string, Labelled>();

  constructor(options: TimingMetricOptions) {
    const { name, help, labelNames, bucketsS, registry } = options;
    super({ name, help, labelNames: [...labelNames], buckets: [...bucketsS], registers: [registry] });
    this.#options = options;
    this.#words = labelNames.map(() => new LabelWords());
    if (labelNames.length === 0) this.at();
  }

  /** The timing under these values of the labels, in their order. */
  at(...texts: readonly string[]): Timing {
    const key = texts.join(" ");
    const known = this.#timings.get(key);
    if (known !== undefined) return known.timing;
    const words = this.#words.map((admitted, index) => admitted.admit(texts[index] ?? ""));
    const admittedKey = words.join(" ");
    const admitted = this.#timings.get(admittedKey);
    if (admitted !== undefined) return admitted.timing;
    const { labelNames, bucketsS } = this.#options;
    const labels = Object.fromEntries(labelNames.map((label, index) => [label, words[index] ?? ""]));
    const timing = new Timing(bucketsS);
    this.#timings.set(admittedKey, { labels, timing });
    return timing;
  }

  /** What prom-client's registry asks for when it writes text. */
  async getForPromString() {
    const { name, help, bucketsS } = this.#options;
    const values = [...this.#timings.values()].flatMap(({ labels, timing }) => {
      const counts = timing.cumulated();
      const buckets = counts.map((value, index) => ({
        metricName: `${name}_bucket`,
        labels: { ...labels, le: bucketsS[index] ?? "+Inf" },
        value,
      }));
      return [
        ...buckets,
        { metricName: `${name}_sum`, labels, value: timing.sumS },
        { metricName: `${name}_count`, labels, value: counts.at(-1) ?? 0 },
      ];
    });
    return { name, help, type: "histogram", values };
  }
}
