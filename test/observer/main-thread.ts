import type { Page } from "playwright-core";

/**
 * Counts the processor time of a page's main thread, which is what it costs however long it waits for a processor; the
 * result tells it in milliseconds since then.
 */
export async function countMainThread(page: Page): Promise<() => Promise<number>> {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const taskMs = async (): Promise<number> => {
    const { metrics } = await session.send("Performance.getMetrics");
    return 1_000 * (metrics.find(({ name }) => name === "TaskDuration")?.value ?? Number.NaN);
  };
  const before = await taskMs();
  return async () => {
    const spent = (await taskMs()) - before;
    await session.detach();
    return spent;
  };
}
