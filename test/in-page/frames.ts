export interface FrameTimes {
  /** Between one frame and the next. */
  readonly betweenMs: readonly number[];
  readonly rowsInDocument: number;
}

/**
 * Scrolls the list by so many pixels each frame, to and fro over all of it, and times the frames. Sent to the browser as
 * its text.
 */
export async function scrollFrames({
  frames,
  stepPx,
}: {
  frames: number;
  stepPx: number;
}): Promise<FrameTimes> {
  const list = document.querySelector("#rows");
  if (!(list instanceof HTMLElement)) throw new Error("The page has no list.");
  const frame = (): Promise<number> => new Promise((resolve) => requestAnimationFrame(resolve));
  const betweenMs: number[] = [];
  let last = await frame();
  let step = stepPx;
  for (let count = 0; count < frames; count++) {
    const end = list.scrollHeight - list.clientHeight;
    if (list.scrollTop + step > end || list.scrollTop + step < 0) step = -step;
    list.scrollTop += step;
    const now = await frame();
    betweenMs.push(now - last);
    last = now;
  }
  return { betweenMs, rowsInDocument: document.querySelectorAll(".space .row").length };
}
