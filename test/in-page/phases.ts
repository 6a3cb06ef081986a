/** Keeps, for each migration, the phases that its row has shown. Sent to the browser as its text. */
export function watchPhases(): void {
  const seen: Record<string, string[]> = {};
  (globalThis as { phasesSeen?: typeof seen }).phasesSeen = seen;
  const look = (): void => {
    for (const row of document.querySelectorAll<HTMLElement>(".space .row")) {
      const { id = "" } = row.dataset;
      // Without its sign, and without how much is copied.
      const text = row.querySelector(".phase")?.lastChild?.textContent ?? "";
      const phase = text.replace(/ \d+ %$/, "");
      seen[id] ??= [];
      if (seen[id].at(-1) !== phase) seen[id].push(phase);
    }
  };
  look();
  const space = document.querySelector(".space");
  if (space === null) throw new Error("The page has no list.");
  new MutationObserver(look).observe(space, { childList: true, characterData: true, subtree: true });
}

export function phasesSeen(id: string): readonly string[] {
  return (globalThis as { phasesSeen?: Record<string, string[]> }).phasesSeen?.[id] ?? [];
}
