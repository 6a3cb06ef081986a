export interface FrameTimes {
  /** Between one frame and the next. */
  readonly betweenMs: readonly number[];
  /** Of scripts and layout within a frame. */
  readonly workMs: readonly number[];
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
  const afterFrame = (): Promise<void> =>
    new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => resolve();
      port2.postMessage(undefined);
    });
  const betweenMs: number[] = [];
  const workMs: number[] = [];
  let last = await frame();
  let step = stepPx;
  for (let count = 0; count < frames; count++) {
    const end = list.scrollHeight - list.clientHeight;
    if (list.scrollTop + step > end || list.scrollTop + step < 0) step = -step;
    list.scrollTop += step;
    const now = await frame();
    const beganAt = performance.now();
    // The list draws in this frame, after this; what follows a frame's drawing comes as a message.
    await afterFrame();
    workMs.push(performance.now() - beganAt);
    betweenMs.push(now - last);
    last = now;
  }
  return { betweenMs, workMs, rowsInDocument: document.querySelectorAll(".space .row").length };
}
