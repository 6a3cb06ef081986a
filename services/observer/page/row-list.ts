import { element } from "./element.ts";
import { milliseconds, timeText } from "./figures.ts";
import { signOf } from "./standing.ts";
import type { MigrationRow } from "./wire.ts";

/** Rows kept beyond the edges, so that a slow frame shows no hole. */
const BEYOND = 6;
const COLUMNS = [
  { name: "phase", title: "Phase" },
  { name: "guest", title: "Guest" },
  { name: "way", title: "From → to" },
  { name: "mode", title: "Mode" },
  { name: "blackout", title: "CPUs stood still, ms", isFigure: true },
  { name: "gap", title: "MAC nowhere, ms", isFigure: true },
  { name: "overhead", title: "Added, ms", isFigure: true },
  { name: "asked", title: "Asked for", isFigure: true },
  { name: "more", title: "Labels, reason" },
] as const satisfies readonly { name: string; title: string; isFigure?: true }[];
type Column = (typeof COLUMNS)[number]["name"];

/** One row's elements, used for whichever migration is there. */
class RowElement {
  readonly root = element("div", { role: "row", class: "row" });
  readonly #cells = new Map<Column, Text>();
  readonly #sign = document.createTextNode("");
  readonly #link = element("a", { tabindex: -1 });
  #shown: MigrationRow | undefined;
  #standing = "";

  constructor() {
    for (const column of COLUMNS) {
      const text = document.createTextNode("");
      const cell = element("div", { role: "gridcell", class: `cell ${column.name}` });
      if (column.name === "phase") {
        cell.append(element("span", { class: "sign", "aria-hidden": "true" }, this.#sign), " ", text);
      } else if (column.name === "guest") {
        this.#link.append(text);
        cell.append(this.#link);
      } else cell.append(text);
      this.#cells.set(column.name, text);
      this.root.append(cell);
    }
  }

  show(row: MigrationRow, index: number, top: number, isActive: boolean): void {
    this.root.id = `row-${index}`;
    this.root.ariaRowIndex = String(index + 2);
    this.root.style.transform = `translateY(${top}px)`;
    this.root.classList.toggle("is-active", isActive);
    this.root.ariaSelected = String(isActive);
    if (row === this.#shown) return;
    this.#shown = row;
    if (this.#standing !== "") this.root.classList.remove(this.#standing);
    this.#standing = `is-${row.standing}`;
    this.root.classList.add(this.#standing);
    this.root.dataset.id = row.id;
    this.#link.href = `#/migrations/${row.id}`;
    this.#sign.data = signOf(row.standing);
    const { windows } = row;
    const texts: Readonly<Record<Column, string>> = {
      phase: phaseText(row),
      guest: row.guest,
      way: `${row.from} → ${row.to}`,
      mode: row.mode,
      blackout: milliseconds(windows.blackoutUs),
      gap: windows.duplicateUs
        ? `both: ${milliseconds(windows.duplicateUs)}`
        : milliseconds(windows.blackHoleUs),
      overhead: milliseconds(windows.overheadUs),
      asked: timeText(row.requestedAtMs),
      more: [...row.labels, row.reason].filter(Boolean).join("  "),
    };
    for (const [name, text] of this.#cells) if (text.data !== texts[name]) text.data = texts[name];
    this.root.title = row.reason;
  }
}

/** "transferring 43 %", "completed". */
export function phaseText({ copiedPercent, phase, standing }: MigrationRow): string {
  const isCopying = copiedPercent !== null && (standing === "open" || standing === "attention");
  return isCopying ? `${phase} ${copiedPercent} %` : phase;
}

/**
 * The list of migrations: a grid of which only the rows in sight are in the document, so that ten thousand cost what
 * thirty do. One row is active; the keys move it and open it.
 */
export class RowList {
  readonly #viewport: HTMLElement;
  readonly #space = element("div", { class: "space", role: "rowgroup" });
  readonly #pool: RowElement[] = [];
  readonly #open: (id: string) => void;
  #rows: readonly MigrationRow[] = [];
  /** By id: rows that come above it do not move it to another migration. */
  #activeId = "";
  #rowHeight = 36;

  constructor(viewport: HTMLElement, open: (id: string) => void) {
    this.#viewport = viewport;
    this.#open = open;
    const headings = COLUMNS.map(({ name, title, ...column }) => {
      const isFigure = "isFigure" in column ? " is-figure" : "";
      return element("div", { role: "columnheader", class: `cell ${name}${isFigure}` }, title);
    });
    const head = element("div", { role: "row", class: "row head", "aria-rowindex": 1 }, ...headings);
    viewport.role = "grid";
    viewport.tabIndex = 0;
    viewport.ariaLabel = "Migrations, newest first";
    viewport.ariaReadOnly = "true";
    viewport.append(element("div", { role: "rowgroup", class: "head-group" }, head), this.#space);
    viewport.addEventListener("scroll", () => requestAnimationFrame(() => this.render()), { passive: true });
    viewport.addEventListener("keydown", (event) => this.#onKey(event));
    this.#space.addEventListener("click", (event) => this.#onClick(event));
    new ResizeObserver(() => this.render()).observe(viewport);
  }

  show(rows: readonly MigrationRow[]): void {
    this.#rows = rows;
    this.render();
  }

  render(): void {
    const rows = this.#rows;
    const viewport = this.#viewport;
    this.#rowHeight = Number.parseFloat(getComputedStyle(viewport).getPropertyValue("--row-height")) || 36;
    const height = this.#rowHeight;
    this.#space.style.height = `${rows.length * height}px`;
    viewport.ariaRowCount = String(rows.length + 1);
    const first = Math.max(0, Math.floor(viewport.scrollTop / height) - BEYOND);
    const inSight = Math.ceil(viewport.clientHeight / height) + 2 * BEYOND;
    const count = Math.min(inSight, Math.max(0, rows.length - first));
    while (this.#pool.length < count) {
      const made = new RowElement();
      this.#pool.push(made);
      this.#space.append(made.root);
    }
    for (const surplus of this.#pool.splice(count)) surplus.root.remove();
    let active = "";
    for (let offset = 0; offset < count; offset++) {
      const index = first + offset;
      const row = rows[index];
      // A row keeps its element while it is in sight: index modulo the number of elements.
      const shown = this.#pool[index % count];
      if (row === undefined || shown === undefined) continue;
      const isActive = row.id === this.#activeId;
      if (isActive) active = `row-${index}`;
      shown.show(row, index, index * height, isActive);
    }
    if (active === "") viewport.removeAttribute("aria-activedescendant");
    else viewport.setAttribute("aria-activedescendant", active);
  }

  #onKey(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.#rows.length - 1;
    const now = this.#rows.findIndex(({ id }) => id === this.#activeId);
    const page = Math.max(1, Math.floor(this.#viewport.clientHeight / this.#rowHeight) - 2);
    const next: Readonly<Record<string, number>> = {
      ArrowDown: now + 1,
      ArrowUp: now === -1 ? 0 : now - 1,
      PageDown: now + page,
      PageUp: now - page,
      Home: 0,
      End: last,
    };
    if (event.key === "Enter" && now !== -1) this.#open(this.#activeId);
    else if (event.key in next && last >= 0)
      this.#activate(Math.min(last, Math.max(0, next[event.key] ?? 0)));
    else return;
    event.preventDefault();
  }

  #activate(index: number): void {
    this.#activeId = this.#rows[index]?.id ?? "";
    const top = index * this.#rowHeight;
    const { clientHeight, scrollTop } = this.#viewport;
    const headHeight = this.#viewport.querySelector<HTMLElement>(".head-group")?.offsetHeight ?? 0;
    const room = clientHeight - headHeight - this.#rowHeight;
    if (top < scrollTop) this.#viewport.scrollTop = top;
    else if (top > scrollTop + room) this.#viewport.scrollTop = top - room;
    this.render();
  }

  #onClick(event: MouseEvent): void {
    if (!(event.target instanceof Element) || event.target.closest("a") !== null) return;
    const id = event.target.closest<HTMLElement>(".row")?.dataset.id;
    if (id === undefined) return;
    this.#activeId = id;
    this.#open(id);
  }
}

/** "12 of 5,000 migrations, 3 not ended". */
export function countText(shown: number, all: number, open: number): string {
  const number = (count: number): string => count.toLocaleString("en");
  const some = shown === all ? number(all) : `${number(shown)} of ${number(all)}`;
  return `${some} ${all === 1 ? "migration" : "migrations"}, ${number(open)} not ended`;
}
