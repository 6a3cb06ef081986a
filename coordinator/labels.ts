import { invalidArgument } from "../proto/error.ts";

const LABELS_AT_MOST = 32;
const KEY_TEXT = /^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
const VALUE_TEXT = /^[ -~]{0,127}$/;

/**
 * Labels, checked, in the order of their keys, so that the same ones are the same bytes whoever sent them.
 * INVALID_ARGUMENT names `field`, with the key where one is at fault.
 */
export function parseLabels(labels: Readonly<Record<string, string>>, field: string): Record<string, string> {
  const entries = Object.entries(labels);
  if (entries.length > LABELS_AT_MOST) {
    throw invalidArgument(
      field,
      `${entries.length} labels are more than ${LABELS_AT_MOST}.`,
      "TOO_MANY_LABELS",
    );
  }
  for (const [key, value] of entries) {
    const shown = key.slice(0, 63);
    if (!KEY_TEXT.test(key)) {
      throw invalidArgument(
        `${field}[${shown}]`,
        `"${shown}" is no key of a label: 1 to 63 letters, digits, ".", "_", "-" or "/", with a letter or digit at both ends.`,
      );
    }
    if (!VALUE_TEXT.test(value)) {
      throw invalidArgument(
        `${field}[${shown}]`,
        `The value of label "${shown}" is not up to 127 printable ASCII characters.`,
      );
    }
  }
  return Object.fromEntries(entries.sort(([left], [right]) => (left < right ? -1 : 1)));
}
