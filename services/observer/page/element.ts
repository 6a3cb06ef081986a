/** Elements by name, attributes and children. Texts become text nodes: nothing that comes as data is read as markup. */
const SVG = "http://www.w3.org/2000/svg";

export type Child = Node | string;
export type Attributes = Readonly<Record<string, string | number>>;

export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  return complete(document.createElement(name), attributes, children);
}

export function drawing<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[K] {
  return complete(document.createElementNS(SVG, name), attributes, children);
}

function complete<T extends Element>(made: T, attributes: Attributes, children: readonly Child[]): T {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** A table with a caption, headings and rows of texts or elements; columns named in `figures` are of figures. */
export function table(
  caption: string,
  headings: readonly string[],
  rows: readonly (readonly Child[])[],
  figures: readonly string[] = [],
): HTMLElement {
  const classOf = (index: number): Attributes =>
    figures.includes(headings[index] ?? "") ? { class: "figure" } : {};
  const head = headings.map((text, index) => element("th", { scope: "col", ...classOf(index) }, text));
  const body = rows.map((cells) =>
    element("tr", {}, ...cells.map((cell, index) => element("td", classOf(index), cell))),
  );
  return element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...body),
  );
}

/** The page's own element of that id. */
export function required(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`The page has no element ${id}.`);
  return found;
}
