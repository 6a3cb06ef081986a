import { readFileSync, statSync } from "node:fs";
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from "yaml";
import type { Fault, Settings } from "./read-settings.ts";

/** What a configuration file says: the texts of each setting, as flags would give them, or all that is wrong with it. */
export interface ConfigFile {
  readonly path: string;
  readonly texts: ReadonlyMap<string, readonly string[]>;
  readonly faults: readonly Fault[];
}

const FILE_LIMIT_BYTES = 1024 * 1024;

/**
 * Reads a file of YAML, and so of JSON: one map, whose keys are the flags' names without `--`. Scalars are taken as they
 * are written (`no` is a text, not false); a flag that may be given several times has a list, a switch `true` or `false`.
 * Keys of no flag, keys that come twice and values of another shape are faults, each with its line. Never throws.
 */
export function readConfigFile(path: string, settings: Settings): ConfigFile {
  try {
    const { size } = statSync(path);
    if (size > FILE_LIMIT_BYTES) return unreadable(path, `It has more than ${FILE_LIMIT_BYTES} bytes.`);
    return parseConfigFile(path, readFileSync(path, "utf8"), settings);
  } catch (thrown) {
    return unreadable(path, thrown instanceof Error ? `${thrown.message}.` : String(thrown));
  }
}

/** As `readConfigFile`, of what was read. */
export function parseConfigFile(path: string, text: string, settings: Settings): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { schema: "failsafe", lineCounter: lines, prettyErrors: false });
  const texts = new Map<string, readonly string[]>();
  const faults: Fault[] = [...document.errors, ...document.warnings].map(({ message, pos }) =>
    faultAt(path, lines.linePos(pos[0]).line, message),
  );
  const { contents } = document;
  if (isMap(contents)) {
    for (const { key, value } of (contents as YAMLMap<Node, Node | null>).items) {
      const line = lines.linePos(key.range?.[0] ?? 0).line;
      const name = isScalar(key) ? String(key.value) : "";
      const setting = Object.hasOwn(settings, name) ? settings[name] : undefined;
      const read = setting === undefined ? `"${name}" is no setting.` : textsIn(name, setting.shape, value);
      if (typeof read === "string") faults.push(faultAt(path, line, read));
      else texts.set(name, read);
    }
  } else if (contents !== null && document.errors.length === 0) {
    faults.push(faultAt(path, 1, "It must be one map of settings."));
  }
  return { path, texts, faults };
}

/** A sentence where the value has another shape than the setting. */
function textsIn(
  name: string,
  shape: Settings[string]["shape"],
  value: Node | null,
): readonly string[] | string {
  if (isSeq(value)) {
    const items = value.items.map((item) => (isScalar(item) ? String(item.value) : ""));
    if (shape !== "many") return `"${name}" takes one value, not a list.`;
    return items.length > 0 && items.every((item) => item !== "") ? items : `"${name}" needs values.`;
  }
  const text = isScalar(value) ? String(value.value ?? "") : "";
  if (!isScalar(value) && value !== null) return `"${name}" takes a value, not a map.`;
  if (text === "") return `"${name}" has no value.`;
  if (shape !== "switch") return [text];
  if (text === "true") return [""];
  return text === "false" ? [] : `"${name}" is true or false.`;
}

function faultAt(path: string, line: number, sentence: string): Fault {
  return { name: path, sentence: `${path}, line ${line}: ${sentence}` };
}

function unreadable(path: string, sentence: string): ConfigFile {
  return {
    path,
    texts: new Map(),
    faults: [{ name: path, sentence: `${path} cannot be read: ${sentence}` }],
  };
}
