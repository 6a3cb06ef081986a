import { environmentName, type Fault, type Settings } from "./read-settings.ts";

export interface UsageText {
  /** "switchover-agent [flags]" */
  readonly synopsis: string;
  /** What the program does, one or two sentences. */
  readonly purpose: string;
  /** Lines to be typed as they stand. */
  readonly examples: readonly string[];
  /** Which flags can also be set in the environment. */
  readonly environment: "every flag" | readonly string[];
}

/** What `--help` prints. */
export function usage(text: UsageText, settings: Settings): string {
  const rows = Object.entries(settings).map(([name, setting]) => {
    const flag = setting.placeholder === "" ? `--${name}` : `--${name} ${setting.placeholder}`;
    const absence = setting.absence === "" ? "" : ` (${setting.absence})`;
    return { flag, words: `${setting.help}${absence}` };
  });
  const width = Math.max(...rows.map((row) => row.flag.length), "--help".length);
  return [
    `Usage: ${text.synopsis}`,
    "",
    text.purpose,
    "",
    "Flags:",
    ...rows.map((row) => `  ${row.flag.padEnd(width)}  ${row.words}`),
    `  ${"--help".padEnd(width)}  This text`,
    "",
    environmentText(text.environment),
    "",
    "Examples:",
    ...text.examples.map((line) => `  ${line}`),
    "",
  ].join("\n");
}

function environmentText(environment: UsageText["environment"]): string {
  const example = environmentName("log-level");
  if (environment === "every flag") return `Environment: every flag, in the form ${example}; a flag wins.`;
  return `Environment: ${environment.map(environmentName).join(", ")}; a flag wins.`;
}

/** All that is wrong, one line each. */
export function faultsText(program: string, faults: readonly Fault[]): string {
  return [
    ...faults.map((fault) => `${program}: ${fault.sentence}`),
    `${program}: see ${program} --help`,
    "",
  ].join("\n");
}
