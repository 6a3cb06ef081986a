import { element, required, table } from "./element.ts";
import { milliseconds, timeText } from "./figures.ts";
import type { PageModel } from "./model.ts";
import { noticeTable } from "./notices-view.ts";
import { phaseText } from "./row-list.ts";
import { badge } from "./standing.ts";
import { drawTimeline } from "./timeline-drawing.ts";
import { planTimeline } from "./timeline-plan.ts";
import type { MigrationDetail, MigrationRow } from "./wire.ts";

const WIDEST = 1_160;

/** One migration: what became of it, its windows, its timeline, and the figures that these are drawn of. */
export class MigrationView {
  readonly #model: PageModel;
  readonly #place = required("migration");
  #id = "";
  #detail: MigrationDetail | undefined;
  /** What the detail was asked for with. */
  #asked: MigrationRow | undefined;
  #noticesShown = -1;
  #width = 0;

  constructor(model: PageModel) {
    this.#model = model;
    new ResizeObserver(() => {
      if (this.#detail !== undefined && this.#widthNow() !== this.#width) this.#draw(this.#detail);
    }).observe(this.#place);
  }

  show(id: string): void {
    if (id === this.#id) return;
    this.#id = id;
    this.#detail = undefined;
    this.#asked = undefined;
    this.#say(`Reading ${id} …`);
    this.render();
  }

  /** Reads the detail anew where the migration has changed. */
  render(): void {
    if (this.#id === "") return;
    const row = this.#model.migration(this.#id);
    if (row !== undefined && row !== this.#asked) {
      this.#asked = row;
      void this.#read(this.#id, row);
    } else if (row === undefined && this.#detail === undefined && this.#model.isWhole) {
      this.#say(`${this.#id} is not kept here.`);
    } else if (this.#detail !== undefined && this.#notices().length !== this.#noticesShown) {
      this.#draw(this.#detail);
    }
  }

  /** It is out of sight: nothing is read any more. */
  hide(): void {
    this.#id = "";
    this.#detail = undefined;
  }

  async #read(id: string, row: MigrationRow): Promise<void> {
    try {
      const response = await fetch(`api/migrations/${encodeURIComponent(id)}`);
      const isStillAsked = this.#id === id && this.#asked === row;
      if (!isStillAsked) return;
      if (!response.ok) throw new Error(await response.text());
      this.#detail = (await response.json()) as MigrationDetail;
      this.#draw(this.#detail);
    } catch (thrown) {
      if (this.#id !== id || this.#asked !== row) return;
      // The next beat or change asks again.
      this.#asked = undefined;
      if (this.#detail === undefined) this.#say(`${id} cannot be read: ${(thrown as Error).message}`);
    }
  }

  #say(sentence: string): void {
    this.#place.replaceChildren(element("p", { class: "quiet" }, sentence));
  }

  #notices() {
    return [...this.#model.notices.values()].filter(({ migration }) => migration === this.#id);
  }

  #widthNow(): number {
    return Math.min(WIDEST, this.#place.clientWidth);
  }

  #draw(detail: MigrationDetail): void {
    const { row } = detail;
    this.#width = this.#widthNow();
    const plan = planTimeline(detail);
    const notices = this.#notices();
    this.#noticesShown = notices.length;
    const parts: Node[] = [headOf(detail), windowsOf(detail)];
    if (plan === null) parts.push(element("p", { class: "quiet" }, "No switchover took place."));
    else {
      const summary = `Timeline of ${row.guest}, ${row.from} to ${row.to}: CPUs stood still for ${milliseconds(row.windows.blackoutUs)} ms, MAC on neither host for ${milliseconds(row.windows.blackHoleUs)} ms`;
      parts.push(
        element("figure", {}, drawTimeline(plan, this.#width, summary), legend()),
        element("div", { class: "columns" }, instantTable(detail), spanTable(detail)),
      );
    }
    parts.push(phaseTable(detail));
    if (notices.length > 0) parts.push(noticeTable("Alarms and notes", notices));
    this.#place.replaceChildren(...parts);
    document.title = `${row.guest}: ${row.phase} · Switchover`;
  }
}

function headOf(detail: MigrationDetail): HTMLElement {
  const { row } = detail;
  const facts: (readonly [string, string])[] = [
    ["migration", row.id],
    ["request", detail.requestId],
    ["epoch", detail.epoch],
    ["instances", `${detail.sourceInstance || "?"} → ${detail.destinationInstance || "?"}`],
    ["asked for", timeText(row.requestedAtMs)],
    ...(row.outcome === "" ? [] : [["guest", row.outcome] as const]),
    ...(row.labels.length === 0 ? [] : [["labels", row.labels.join("  ")] as const]),
    ...(row.reason === "" ? [] : [["reason", `${row.reason} [${row.reasonCode}]`] as const]),
  ];
  return element(
    "header",
    { class: "migration-head" },
    element("h2", {}, `${row.guest}: ${row.from} → ${row.to}, ${row.mode}`),
    badge(row.standing, phaseText(row)),
    element(
      "dl",
      { class: "facts" },
      ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    ),
  );
}

function windowsOf({ row: { windows } }: MigrationDetail): HTMLElement {
  const tiles: readonly (readonly [string, string, number | null])[] = [
    ["blackout", "CPUs stood still", windows.blackoutUs],
    ["black-hole", "MAC on neither host", windows.blackHoleUs],
    ["duplicate", "MAC on both hosts", windows.duplicateUs],
    ["overhead", "added by Switchover", windows.overheadUs],
  ];
  return element(
    "dl",
    { class: "windows" },
    ...tiles.map(([name, words, us]) =>
      element(
        "div",
        { class: `window ${name}`, "data-window": name },
        element("dt", {}, words),
        element("dd", {}, element("span", { class: "value" }, milliseconds(us)), " ms"),
      ),
    ),
  );
}

function legend(): HTMLElement {
  const entry = (name: string, words: string): HTMLElement =>
    element(
      "span",
      { class: "key" },
      element("span", { class: `swatch ${name}`, "aria-hidden": "true" }),
      words,
    );
  return element(
    "figcaption",
    {},
    entry("source", "source"),
    entry("destination", "destination"),
    entry("blackout", "CPUs stand still"),
    entry("neither", "MAC on neither host"),
    entry("both", "MAC on both hosts"),
    element(
      "span",
      { class: "key" },
      "Numbers are the instants below, of which those long after RESUME are not drawn; time runs to scale, in ms from STOP.",
    ),
  );
}

function instantTable({ instants }: MigrationDetail): HTMLElement {
  const rows = instants.map(({ atUs, host, lane, words }, index) => [
    String(index + 1),
    milliseconds(atUs),
    `${host} (${lane})`,
    words,
  ]);
  return table("What happened when", ["No.", "ms", "Host", "What"], rows, ["No.", "ms"]);
}

function spanTable({ clockBehindUs, spans }: MigrationDetail): HTMLElement {
  const rows = spans.map(({ acrossClocks, durationUs, kind, words }) => {
    const value = element("span", { "data-span": kind }, milliseconds(durationUs));
    return [words, value, acrossClocks ? "both hosts' clocks" : ""];
  });
  const figures = table("How long it took", ["From, until", "ms", "By"], rows, ["ms"]);
  if (clockBehindUs === 0) return element("div", {}, figures);
  const sentence = `The destination's clock is behind by ${milliseconds(clockBehindUs)} ms or more; corrected by that.`;
  return element("div", {}, figures, element("p", { class: "quiet" }, sentence));
}

function phaseTable({ phases }: MigrationDetail): HTMLElement {
  const rows = phases.map(({ atMs, durationUs, phase, reason }) => [
    phase,
    milliseconds(durationUs),
    timeText(atMs),
    reason,
  ]);
  return table("Phases", ["Phase", "ms", "Entered", "Reason"], rows, ["ms", "Entered"]);
}
