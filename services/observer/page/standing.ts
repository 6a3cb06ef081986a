import { element } from "./element.ts";
import type { HostEntry, Notice, Standing } from "./wire.ts";

/** Each has a sign and a word beside its colour. */
const SIGNS: Readonly<Record<Standing | HostEntry["standing"] | Notice["kind"], string>> = {
  waiting: "…",
  open: "▸",
  attention: "!",
  completed: "✓",
  cancelled: "⊘",
  failed: "✕",
  alive: "✓",
  late: "…",
  silent: "✕",
  alarm: "!",
  drift: "≠",
  mended: "✓",
  note: "·",
};

export function signOf(standing: keyof typeof SIGNS): string {
  return SIGNS[standing];
}

export function badge(standing: keyof typeof SIGNS, word: string): HTMLElement {
  const sign = element("span", { class: "sign", "aria-hidden": "true" }, signOf(standing));
  return element("span", { class: `badge is-${standing}` }, sign, ` ${word}`);
}
