import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { repositoryRoot } from "../lab/repository-root.ts";

export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface Panel {
  readonly type: string;
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

interface RuleFile {
  readonly groups: readonly { readonly rules: readonly AlertRule[] }[];
}

export const PROMETHEUS_FOLDER = join(repositoryRoot(), "deploy", "prometheus");

/** The alerts of deploy/prometheus. */
export function alertRules(): readonly AlertRule[] {
  const { groups } = parse(readFileSync(join(PROMETHEUS_FOLDER, "alerts.yaml"), "utf8")) as RuleFile;
  return groups.flatMap(({ rules }) => rules);
}

/** What the panels of deploy/grafana ask. */
export function dashboardQueries(): readonly string[] {
  const path = join(repositoryRoot(), "deploy", "grafana", "switchover.json");
  const { panels } = JSON.parse(readFileSync(path, "utf8")) as { readonly panels: readonly Panel[] };
  return panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
}
