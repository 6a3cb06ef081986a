import assert from "node:assert/strict";
import { after, before, describe, it, type TestContext } from "node:test";
import type { Page } from "playwright-core";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { percentilesOf } from "../bench/percentiles.ts";
import { type FrameTimes, scrollFrames } from "../in-page/frames.ts";
import { ObserverBench } from "../observer/observer-bench.ts";
import { toldMigration } from "../observer/told-migration.ts";
import { skipWithout } from "../resource.ts";

const FEW = 50;
const MANY = 5_000;
const FRAMES = 240;
const STEP_PX = 340;
/** Open migrations of which each says something new, again and again, while the list is scrolled. */
const LIVE = 100;
const NOW_MS = Date.now();
/** What a frame's scripts and layout may take: one sixtieth of a second, on this machine with all that it does besides. */
const WORK_P50_MS = 16.7;
/** A list of thousands costs what one of fifty does, and as much again for what is no list: generously. */
const RATIO = 2;
const ALLOWANCE_MS = 4;

const ended = (index: number) =>
  toldMigration({
    guest: `web-${index}`,
    atUnixMs: NOW_MS - 60_000 - index * 1_000,
    phase: index % 9 === 4 ? Phase.FAILED : Phase.COMPLETED,
    labels: { team: `t${index % 7}`, drain: `h${index % 40}` },
    blackoutUs: 5_000 + index,
  });

describe("the observer's list of thousands", { skip: skipWithout("chromium", "natsServer") }, () => {
  const bench = new ObserverBench();
  let page: Page;
  let few: FrameTimes;
  before(async () => {
    await bench.start();
    await bench.told.history(Array.from({ length: FEW }, (_, index) => ended(index)));
    page = (await bench.openPage({ viewport: { width: 1280, height: 800 } })).page;
    await page.getByText(`${FEW} migrations`).waitFor();
    few = await scroll(STEP_PX);
    await bench.told.history(Array.from({ length: MANY - FEW }, (_, index) => ended(FEW + index)));
    await page.getByText("5,000 migrations, 0 not ended").waitFor();
  });
  after(() => bench.end());

  const scroll = (stepPx: number): Promise<FrameTimes> =>
    page.evaluate(scrollFrames, { frames: FRAMES, stepPx });

  function judge(t: TestContext, what: string, many: FrameTimes): void {
    const ofFew = percentilesOf(few.workMs);
    const ofMany = percentilesOf(many.workMs);
    const apart = percentilesOf(many.betweenMs);
    const [least, p50] = [ofFew.p50 ?? Number.NaN, ofMany.p50 ?? Number.NaN];
    t.diagnostic(
      `${what}: work a frame p50 ${p50} ms, p99 ${ofMany.p99} ms (${FEW} rows: p50 ${least} ms, p99 ${ofFew.p99} ms); ` +
        `frames p50 ${apart.p50} ms apart, p99 ${apart.p99} ms; ${many.rowsInDocument} rows in the document`,
    );
    assert.ok(p50 <= WORK_P50_MS, `a frame takes ${p50} ms`);
    assert.ok(p50 <= RATIO * least + ALLOWANCE_MS, `${p50} ms instead of ${least} ms`);
    assert.ok(many.rowsInDocument <= 60, `${many.rowsInDocument} rows`);
  }

  it("scrolls as one of fifty does", async (t) => {
    judge(t, "5,000 migrations", await scroll(STEP_PX));
  });

  it("scrolls while events arrive", async (t) => {
    let isOver = false;
    let told = 0;
    const telling = (async () => {
      for (let revision = 2n; !isOver; revision++) {
        const index = Number(revision) % LIVE;
        const phase = revision % 2n === 0n ? Phase.TRANSFERRING : Phase.SWITCHING_OVER;
        await bench.told.record(
          toldMigration({ guest: `live-${index}`, atUnixMs: NOW_MS + index, phase, revision }),
        );
        told += 1;
      }
    })();
    const many = await scroll(STEP_PX);
    isOver = true;
    await telling;
    assert.ok(told > 50, `${told} events`);
    judge(t, `5,000 migrations, ${told} events meanwhile`, many);
    await page.getByText(/not ended$/).waitFor();
  });

  it("filters thousands between two keys", async (t) => {
    await page.locator("#rows").evaluate((list) => list.scrollTo(0, 0));
    const beganAt = performance.now();
    await page.getByRole("searchbox", { name: "Text" }).fill("web-4999");
    await page.getByText("1 of 5,").waitFor();
    t.diagnostic(`shown ${(performance.now() - beganAt).toFixed(0)} ms after the text was there`);
    assert.ok(performance.now() - beganAt < 2_000);
  });

  it("brings all of them again to a page that is loaded", async (t) => {
    const beganAt = performance.now();
    const { page: another } = await bench.openPage({ viewport: { width: 360, height: 740 } });
    await another.getByText(/^5,\d+ migrations/).waitFor();
    t.diagnostic(`a page with all of them after ${(performance.now() - beganAt).toFixed(0)} ms`);
    await another.close();
  });
});
