import type { Beat, Changes } from "./wire.ts";

/** Without a beat, due every 5 s, for so long the stream counts as dead, whatever the browser says. */
const SILENCE_MS = 15_000;
const AGAIN_AFTER_MS = 2_000;

export type Link = "connecting" | "live" | "lost";

export interface ChangesListener {
  readonly onChanges: (changes: Changes) => void;
  readonly onBeat: (beat: Beat) => void;
  readonly onLink: (link: Link) => void;
}

/**
 * Brings all that the observer shows and every change, for as long as the page is open. The browser comes back by itself
 * where a stream breaks, with the last id; where it gave up, or nothing has come for long, another stream is opened that
 * goes on after the last id all the same.
 */
export function followChanges({ onBeat, onChanges, onLink }: ChangesListener): void {
  let lastId = "";
  let source: EventSource;
  let watchdog: ReturnType<typeof setTimeout> | undefined;
  const open = (): void => {
    source = new EventSource(lastId === "" ? "events" : `events?after=${encodeURIComponent(lastId)}`);
    source.addEventListener("changes", (event) => {
      lastId = event.lastEventId;
      alive();
      onChanges(JSON.parse(event.data) as Changes);
    });
    source.addEventListener("beat", (event) => {
      alive();
      onBeat(JSON.parse(event.data) as Beat);
    });
    source.addEventListener("error", () => {
      onLink("lost");
      if (source.readyState === EventSource.CLOSED) againAfter(AGAIN_AFTER_MS);
    });
  };
  const againAfter = (ms: number): void => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => {
      onLink("lost");
      source.close();
      open();
      againAfter(SILENCE_MS);
    }, ms);
  };
  const alive = (): void => {
    onLink("live");
    againAfter(SILENCE_MS);
  };
  onLink("connecting");
  open();
  againAfter(SILENCE_MS);
}
