import type { Page } from "playwright-core";
import { shownFigureTexts } from "../in-page/looks.ts";

/** Figures by their names: windows and spans, each in milliseconds as text. */
export type Figures = Readonly<Record<string, string>>;

interface ReceiptJson {
  readonly spans?: readonly { readonly kind: string; readonly durationUs?: string }[];
}

/** What the page shows of the migration that is open: its windows and all of its spans. */
export async function shownFigures(page: Page): Promise<Figures> {
  return Object.fromEntries(await page.evaluate(shownFigureTexts));
}

/** The same of a receipt, as `switchoverctl receipt ID --json` prints it. */
export function receiptFigures(receipt: unknown): Figures {
  const { spans = [] } = receipt as ReceiptJson;
  const us = new Map(
    spans.map(({ durationUs = "0", kind }) => [kind.replace(/^SPAN_KIND_/, ""), Number(durationUs)]),
  );
  const unregisteredUs = us.get("UNREGISTERED") ?? Number.NaN;
  const windows: readonly (readonly [string, number])[] = [
    ["window blackout", us.get("BLACKOUT") ?? Number.NaN],
    ["window black-hole", Math.max(0, unregisteredUs)],
    ["window duplicate", Math.max(0, -unregisteredUs)],
    ["window overhead", us.get("ADDED") ?? Number.NaN],
  ];
  const figures = [...us].map(([name, value]): readonly [string, number] => [`span ${name}`, value]);
  return Object.fromEntries(
    [...windows, ...figures].map(([name, value]) => [name, (value / 1_000).toFixed(3)]),
  );
}
