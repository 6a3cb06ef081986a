import { element, required } from "./element.ts";
import { type Filter, filterQuery, hasEnded, NOT_ENDED, passing } from "./filter.ts";
import type { PageModel } from "./model.ts";
import { countText, RowList } from "./row-list.ts";

/** The phases that a reader may ask for; what is in none of them now may be there soon. */
const PHASES = [
  ...[NOT_ENDED, "attention", "completed", "failed", "cancelled"],
  ...["pending", "preparing", "transferring", "switching over", "post copy", "post copy paused"],
  ...["completing", "cancelling", "rolling back", "handing back", "ambiguous"],
];
const FIELDS = ["text", "phase", "host", "label"] as const;

/** The list of migrations with its filter, whose place is the address. */
export class ListView {
  readonly #model: PageModel;
  readonly #rows: RowList;
  readonly #count = required("count");
  readonly #fields = FIELDS.map((name) => [name, required(`filter-${name}`) as HTMLInputElement] as const);
  #filter: Filter | undefined;

  constructor(model: PageModel) {
    this.#model = model;
    this.#rows = new RowList(required("rows"), (id) => {
      location.hash = `#/migrations/${id}`;
    });
    required("filter-phase").append(...PHASES.map((phase) => element("option", { value: phase }, phase)));
    for (const [, field] of this.#fields) {
      field.addEventListener("input", () => this.#onInput());
    }
    required("filter").addEventListener("submit", (event) => event.preventDefault());
  }

  show(filter: Filter): void {
    this.#filter = filter;
    for (const [name, field] of this.#fields) {
      if (field !== document.activeElement) field.value = filter[name];
    }
    this.render();
  }

  render(): void {
    if (this.#filter === undefined) return;
    const all = this.#model.rows;
    const shown = all.filter(passing(this.#filter));
    this.#rows.show(shown);
    const open = shown.filter((row) => !hasEnded(row)).length;
    const text = countText(shown.length, all.length, open);
    if (this.#count.textContent !== text) this.#count.textContent = text;
    required("nothing").hidden = shown.length > 0;
  }

  /** The text field gets the keys. */
  focusFilter(): void {
    required("filter-text").focus();
  }

  focusRows(): void {
    required("rows").focus();
  }

  #onInput(): void {
    const given = Object.fromEntries(this.#fields.map(([name, field]) => [name, field.value.trim()]));
    const query = filterQuery(given as unknown as Filter);
    // No entry of the history for each key that is pressed.
    history.replaceState(null, "", query === "" ? "#/migrations" : `#/migrations?${query}`);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
}
