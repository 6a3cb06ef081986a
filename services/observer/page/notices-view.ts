import { element, required, table } from "./element.ts";
import { timeText } from "./figures.ts";
import type { PageModel } from "./model.ts";
import { badge } from "./standing.ts";
import type { Notice } from "./wire.ts";

const SHOWN_AT_MOST = 300;

/** Alarms, drift and what else a person should know, newest first. */
export class NoticesView {
  readonly #model: PageModel;
  readonly #place = required("notices");
  #shown = "";

  constructor(model: PageModel) {
    this.#model = model;
  }

  render(): void {
    const notices = [...this.#model.notices.values()].sort((left, right) => right.atMs - left.atMs);
    // Notices never change; only newer ones come, and the oldest go.
    const shown = `${notices.length} ${notices[0]?.id ?? ""}`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    const caption = `Alarms and drift: ${notices.length}`;
    this.#place.replaceChildren(
      notices.length === 0
        ? element("p", { class: "quiet" }, "No alarm and no drift.")
        : noticeTable(caption, notices.slice(0, SHOWN_AT_MOST)),
    );
  }
}

export function noticeTable(caption: string, notices: readonly Notice[]): HTMLElement {
  const rows = notices.map(({ atMs, guest, host, kind, migration, reason, sentence }) => [
    badge(kind, kind),
    timeText(atMs),
    host,
    migration === "" ? guest : element("a", { href: `#/migrations/${migration}` }, guest),
    reason === "" ? sentence : `${sentence} [${reason}]`,
  ]);
  const made = table(caption, ["Kind", "When", "Host", "Guest", "What"], rows, ["When"]);
  made.className = "notices";
  return made;
}
