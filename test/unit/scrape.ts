import assert from "node:assert/strict";

/** A metric as one scrape has it. */
export interface Scraped {
  readonly type: string;
  readonly help: string;
  /** By what stands before the value: the name, with labels in their order. */
  readonly samples: ReadonlyMap<string, number>;
}

const SAMPLE = /^([a-zA-Z_][a-zA-Z0-9_]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-z_]+)="((?:[^"\\]|\\.)*)"/g;
const SUFFIX = /_(bucket|sum|count)$/;

/** What Prometheus would read, by a GET. */
export async function scrape(url: string): Promise<ReadonlyMap<string, Scraped>> {
  const response = await fetch(url);
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4; charset=utf-8$/);
  return parseMetrics(await response.text());
}

/** The text format of Prometheus 0.0.4, of which every line has to be one. */
export function parseMetrics(text: string): ReadonlyMap<string, Scraped> {
  assert.ok(text.endsWith("\n"));
  const metrics = new Map<string, { type: string; help: string; samples: Map<string, number> }>();
  const take = (name: string) => {
    const known = metrics.get(name) ?? { type: "", help: "", samples: new Map<string, number>() };
    metrics.set(name, known);
    return known;
  };
  for (const line of text.split("\n").filter((one) => one !== "")) {
    const [, kind, described = "", words = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind === "HELP") take(described).help = words;
    else if (kind === "TYPE") take(described).type = words;
    else {
      const [, name = "", labels = "", value = ""] = SAMPLE.exec(line) ?? assert.fail(`no sample: ${line}`);
      const base =
        metrics.get(name.replace(SUFFIX, ""))?.type === "histogram" ? name.replace(SUFFIX, "") : name;
      const key = labels === "" ? name : `${name}{${sorted(labels)}}`;
      const { samples } = metrics.get(base) ?? assert.fail(`${name} has no type`);
      assert.ok(!samples.has(key), `twice: ${key}`);
      samples.set(key, Number(value.replace("+Inf", "Infinity")));
    }
  }
  return metrics;
}

function sorted(labels: string): string {
  return [...labels.matchAll(LABEL)]
    .map(([text]) => text)
    .sort()
    .join(",");
}

/** The one sample's value; undefined where it is not there. */
export function sampleValue(metrics: ReadonlyMap<string, Scraped>, sample: string): number | undefined {
  const name = sample.replace(/\{.*$/, "");
  return (metrics.get(name) ?? metrics.get(name.replace(SUFFIX, "")))?.samples.get(sample);
}

/** The names of a metric's labels, sorted; without a histogram's own. */
export function labelNames(metric: Scraped): readonly string[] {
  const found = [...metric.samples.keys()].flatMap((sample) =>
    [...sample.matchAll(LABEL)].map(([, name = ""]) => name),
  );
  return [...new Set(found)].filter((name) => name !== "le").sort();
}

/** All values of one label in a metric, sorted. */
export function labelValues(metric: Scraped | undefined, label: string): readonly string[] {
  const found = [...(metric?.samples.keys() ?? [])].flatMap((sample) =>
    [...sample.matchAll(LABEL)].filter(([, name]) => name === label).map(([, , value = ""]) => value),
  );
  return [...new Set(found)].sort();
}
