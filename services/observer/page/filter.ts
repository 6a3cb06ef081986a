import type { MigrationRow, Standing } from "./wire.ts";

/** What a reader wants to see; empty: no matter. It stands in the page's address, so that it can be kept and sent. */
export interface Filter {
  /** Words that all occur somewhere, in any case. */
  readonly text: string;
  /** A standing, a phase in words, or "not ended". */
  readonly phase: string;
  /** Source or destination. */
  readonly host: string;
  /** "key" or "key=value". */
  readonly label: string;
}

export const NO_FILTER: Filter = { text: "", phase: "", host: "", label: "" };
export const NOT_ENDED = "not ended";

const ENDED: ReadonlySet<Standing> = new Set(["completed", "cancelled", "failed"]);
const FIELDS = ["text", "phase", "host", "label"] as const;

export function hasEnded({ standing }: MigrationRow): boolean {
  return ENDED.has(standing);
}

export function parseFilter(query: string): Filter {
  const given = new URLSearchParams(query);
  const [text, phase, host, label] = FIELDS.map((field) => given.get(field)?.trim() ?? "");
  return { text: text ?? "", phase: phase ?? "", host: host ?? "", label: label ?? "" };
}

/** As parseFilter reads it; empty where nothing is filtered. */
export function filterQuery(filter: Filter): string {
  const given = FIELDS.filter((field) => filter[field] !== "").map((field) => [field, filter[field]]);
  return new URLSearchParams(given).toString();
}

/** Rows are immutable, so what is searched of one is made once. */
const searched = new WeakMap<MigrationRow, string>();

/** A function for one filter, to be asked of thousands of rows. */
export function passing(filter: Filter): (row: MigrationRow) => boolean {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  const { host, label, phase } = filter;
  return (row) =>
    (phase === "" || isIn(row, phase)) &&
    (host === "" || row.from === host || row.to === host) &&
    (label === "" || row.labels.some((one) => one === label || one.startsWith(`${label}=`))) &&
    (words.length === 0 || hasAll(row, words));
}

function isIn(row: MigrationRow, phase: string): boolean {
  return phase === NOT_ENDED ? !hasEnded(row) : row.phase === phase || row.standing === phase;
}

function hasAll(row: MigrationRow, words: readonly string[]): boolean {
  let text = searched.get(row);
  if (text === undefined) {
    const { from, id, labels, mode, outcome, phase, reason, reasonCode, to } = row;
    text = [id, from, to, mode, phase, outcome, reason, reasonCode, ...labels].join("\n").toLowerCase();
    searched.set(row, text);
  }
  return words.every((word) => text.includes(word));
}
