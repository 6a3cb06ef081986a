import { invalidArgument } from "../../proto/error.ts";

export interface Label {
  readonly key: string;
  readonly value: string;
}

/** `key=value`; the coordinator judges both. */
export function parseLabel(text: string, field: string): Label {
  const at = text.indexOf("=");
  if (at > 0) return { key: text.slice(0, at), value: text.slice(at + 1) };
  throw invalidArgument(field, `${field}: "${text}" is not KEY=VALUE.`);
}

/** INVALID_ARGUMENT where one key has two values. */
export function labelsOf(labels: readonly Label[]): Record<string, string> {
  const byKey = new Map<string, string>();
  for (const { key, value } of labels) {
    const known = byKey.get(key);
    if (known !== undefined && known !== value) {
      throw invalidArgument("--label", `--label: "${key}" cannot be both "${known}" and "${value}".`);
    }
    byKey.set(key, value);
  }
  return Object.fromEntries(byKey);
}
