import { invalidArgument } from "../../proto/error.ts";

/**
 * One thing that a program can be told: by the flag `--NAME`, by the environment as `SWITCHOVER_NAME`, or by its
 * configuration file, where each wins over the next. `read` turns all texts given for it into its value and throws
 * SwitchoverError for what is wrong.
 */
export interface Setting<T> {
  /** A switch takes no text: given or not. */
  readonly shape: "one" | "many" | "switch";
  /** What stands for the text in help ("HOST:PORT"); empty for a switch. */
  readonly placeholder: string;
  readonly help: string;
  /** What help says about leaving it out. */
  readonly absence: string;
  readonly read: (texts: readonly string[], flag: string) => T;
}

/** Parses one text; throws SwitchoverError with `field` and a sentence. */
export type SettingParser<T> = (text: string, field: string) => T;

interface Words {
  readonly placeholder: string;
  readonly help: string;
}

export function required<T>(parse: SettingParser<T>, words: Words): Setting<T> {
  return {
    ...words,
    shape: "one",
    absence: "required",
    read: ([text], flag) => {
      if (text === undefined) throw invalidArgument(flag, `${flag} is required.`, "REQUIRED");
      return parse(text, flag);
    },
  };
}

/** `fallback` is a text, parsed like any other. */
export function withDefault<T>(parse: SettingParser<T>, fallback: string, words: Words): Setting<T> {
  return {
    ...words,
    shape: "one",
    absence: `default ${fallback}`,
    read: ([text], flag) => parse(text ?? fallback, flag),
  };
}

/** `absence` says what happens without it. */
export function optional<T>(parse: SettingParser<T>, absence: string, words: Words): Setting<T | undefined> {
  return {
    ...words,
    shape: "one",
    absence,
    read: ([text], flag) => (text === undefined ? undefined : parse(text, flag)),
  };
}

/** May be given several times; in the environment, separated by commas. */
export function repeated<T>(parse: SettingParser<T>, fallback: string, words: Words): Setting<readonly T[]> {
  return {
    ...words,
    shape: "many",
    absence: `several times; default ${fallback}`,
    read: (texts, flag) => (texts.length === 0 ? [fallback] : texts).map((text) => parse(text, flag)),
  };
}

/** May be given several times, or not at all; in the environment, separated by commas. */
export function several<T>(parse: SettingParser<T>, absence: string, words: Words): Setting<readonly T[]> {
  return {
    ...words,
    shape: "many",
    absence: `several times; default ${absence}`,
    read: (texts, flag) => texts.map((text) => parse(text, flag)),
  };
}

export function onOff(help: string): Setting<"on" | "off"> {
  return {
    shape: "switch",
    placeholder: "",
    help,
    absence: "",
    // A flag has no text, and a file that says true none either.
    read: ([text], name) => {
      if (text === undefined || text === "false" || text === "0") return "off";
      if (text === "" || text === "true" || text === "1") return "on";
      throw invalidArgument(name, `${name}: "${text}" is neither true nor false.`);
    },
  };
}
