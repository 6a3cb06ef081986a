/** What tests ask of the page. Each is sent to the browser as its text, so it uses nothing but what is within it. */

/** The guests in sight, from above. */
export function guestsInOrder(): readonly string[] {
  return [...document.querySelectorAll<HTMLElement>(".space .row")]
    .sort((left, right) => Number(left.ariaRowIndex) - Number(right.ariaRowIndex))
    .map((row) => row.querySelector(".guest")?.textContent ?? "");
}

/** Whether the chosen row is wholly below the headings and above the lower edge. */
export function isChosenInSight(): boolean {
  const row = document.querySelector(".is-active")?.getBoundingClientRect();
  const list = document.querySelector("#rows")?.getBoundingClientRect();
  const head = document.querySelector(".head-group")?.getBoundingClientRect();
  if (row === undefined || list === undefined || head === undefined) return false;
  return row.top >= head.bottom - 1 && row.bottom <= list.bottom + 1;
}

/** Names and texts of all windows and spans of the migration that is open. */
export function shownFigureTexts(): readonly (readonly [string, string])[] {
  const textsOf = (name: string, within: string): readonly (readonly [string, string])[] =>
    [...document.querySelectorAll<HTMLElement>(`[data-${name}]`)].map((one) => [
      `${name} ${one.dataset[name] ?? ""}`,
      (within === "" ? one : one.querySelector(within))?.textContent ?? "",
    ]);
  return [...textsOf("window", ".value"), ...textsOf("span", "")];
}

/** By how many pixels something is wider than the screen. */
export function overflowPx(): number {
  const { clientWidth, scrollWidth } = document.documentElement;
  const section = document.querySelector("section:not([hidden])");
  return scrollWidth - clientWidth + (section === null ? 0 : section.scrollWidth - section.clientWidth);
}

/** The page's background as CSS has it. */
export function groundColour(): string {
  return getComputedStyle(document.body).backgroundColor;
}

/** Where the timeline with its legend ends; 0 while there is none. */
export function figureBottomPx(): number {
  return Math.ceil(document.querySelector("#migration figure")?.getBoundingClientRect().bottom ?? 0);
}
