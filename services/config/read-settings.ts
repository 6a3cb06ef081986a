import { parseArgs } from "node:util";
import { SwitchoverError } from "../../proto/error.ts";
import type { ConfigFile } from "./config-file.ts";
import { CONFIG_SETTING } from "./program-settings.ts";
import type { Setting } from "./setting.ts";

export type Settings = Readonly<Record<string, Setting<unknown>>>;
export type Values<S extends Settings> = {
  readonly [Name in keyof S]: S[Name] extends Setting<infer T> ? T : never;
};

/** One thing that is wrong with what a program was told. */
export interface Fault {
  /** The flag or variable at fault ("--listen", "SWITCHOVER_LISTEN"). */
  readonly name: string;
  readonly sentence: string;
}

export type Reading<S extends Settings> =
  | { readonly t: "settings"; readonly values: Values<S>; readonly positionals: readonly string[] }
  | { readonly t: "help" }
  | { readonly t: "faults"; readonly faults: readonly Fault[] };

const ENVIRONMENT_PREFIX = "SWITCHOVER_";

/** `host-id` is SWITCHOVER_HOST_ID in the environment. */
export function environmentName(name: string): string {
  return ENVIRONMENT_PREFIX + name.toUpperCase().replaceAll("-", "_");
}

/**
 * Reads and checks everything before any of it is used, and returns all faults at once. `--help` or `-h` anywhere asks
 * for help, whatever else is wrong. Up to `positionalLimit` words may stand beside the flags. A flag wins over the
 * environment, and that over the file that `--config` names, where there is a way to read one.
 */
export function readSettings<S extends Settings>(
  settings: S,
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  positionalLimit = 0,
  readFile?: (path: string) => ConfigFile,
): Reading<S> {
  const faults: Fault[] = [];
  const given = new Map<string, string[]>();
  const positionals: string[] = [];
  for (const token of tokensOf(settings, argv)) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    if (token.name === "help" || token.name === "h") return { t: "help" };
    const setting = Object.hasOwn(settings, token.name) ? settings[token.name] : undefined;
    const fault = flagFault(setting, token.rawName, token.value, given.get(token.name));
    if (fault === undefined) given.set(token.name, [...(given.get(token.name) ?? []), token.value ?? ""]);
    else faults.push({ name: token.rawName, sentence: fault });
  }
  const surplus = positionals[positionalLimit];
  if (surplus !== undefined) faults.push({ name: surplus, sentence: `"${surplus}" is one word too many.` });
  const path = given.get(CONFIG_SETTING)?.[0] ?? environment[environmentName(CONFIG_SETTING)] ?? "";
  const file = path === "" ? undefined : readFile?.(path);
  faults.push(...(file?.faults ?? []));
  const values = readValues(settings, given, environment, file, faults);
  return faults.length > 0 ? { t: "faults", faults } : { t: "settings", values, positionals };
}

function tokensOf(settings: Settings, argv: readonly string[]) {
  const options = Object.entries(settings).map(([name, { shape }]) => {
    const type = shape === "switch" ? ("boolean" as const) : ("string" as const);
    return [name, { type }] as const;
  });
  return parseArgs({
    args: [...argv],
    options: Object.fromEntries(options),
    strict: false,
    allowPositionals: true,
    tokens: true,
  }).tokens;
}

function flagFault(
  setting: Setting<unknown> | undefined,
  rawName: string,
  value: string | undefined,
  before: readonly string[] | undefined,
): string | undefined {
  if (setting === undefined) return `${rawName} is not a flag; see --help.`;
  if (setting.shape === "switch" && value !== undefined) return `${rawName} takes no value.`;
  if (setting.shape !== "switch" && value === undefined) {
    return `${rawName} needs a value: ${rawName} ${setting.placeholder}.`;
  }
  if (setting.shape !== "many" && before !== undefined) return `${rawName} was given twice.`;
  return undefined;
}

function readValues<S extends Settings>(
  settings: S,
  given: ReadonlyMap<string, readonly string[]>,
  environment: Readonly<Record<string, string | undefined>>,
  file: ConfigFile | undefined,
  faults: Fault[],
): Values<S> {
  const faulty = new Set(faults.map((fault) => fault.name));
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(settings)) {
    if (faulty.has(`--${name}`)) continue;
    const { source, texts } = textsFor(name, setting, given, environment, file);
    try {
      values[name] = setting.read(texts, source);
    } catch (thrown) {
      const { message } = SwitchoverError.from(thrown);
      faults.push({ name: source, sentence: message.startsWith(source) ? message : `${source}: ${message}` });
    }
  }
  return values as Values<S>;
}

/** What was said of the setting where it counts, and how that place calls it. */
function textsFor(
  name: string,
  setting: Setting<unknown>,
  given: ReadonlyMap<string, readonly string[]>,
  environment: Readonly<Record<string, string | undefined>>,
  file: ConfigFile | undefined,
): { readonly source: string; readonly texts: readonly string[] } {
  const flag = { source: `--${name}`, texts: given.get(name) ?? [] };
  if (given.has(name)) return flag;
  const variable = environmentName(name);
  const text = environment[variable] ?? "";
  if (text !== "") return { source: variable, texts: textsOf(setting, text) };
  const fromFile = file?.texts.get(name);
  return fromFile === undefined ? flag : { source: `${file?.path}: ${name}`, texts: fromFile };
}

function textsOf(setting: Setting<unknown>, text: string): readonly string[] {
  return setting.shape === "many" ? text.split(",").map((part) => part.trim()) : [text];
}
