import assert from "node:assert/strict";
import { after, before, describe, it, type TestContext } from "node:test";
import type { Page } from "playwright-core";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { percentilesOf } from "../bench/percentiles.ts";
import { type FrameTimes, scrollFrames } from "../in-page/frames.ts";
import { countMainThread } from "../observer/main-thread.ts";
import { ObserverBench } from "../observer/observer-bench.ts";
import { toldMigration } from "../observer/told-migration.ts";
import { skipWithout } from "../resource.ts";

const FEW = 50;
const MANY = 5_000;
/** Fifty and five thousand take turns, so that what else this machine does meets both. */
const TURNS = 5;
const FRAMES = 60;
const STEP_PX = 340;
/** Open migrations of which each says something new, again and again, while the list is scrolled. */
const LIVE = 100;
const NOW_MS = Date.now();
/** Of the main thread's processor time, half of a sixtieth of a second. */
const FRAME_CPU_MS = 8;
/** What nobody notices who types. */
const FILTER_CPU_MS = 100;
/** A list of thousands costs what one of fifty does, and as much again for what is no list: generously. */
const RATIO = 2;
const ALLOWANCE_MS = 2;

const ended = (index: number) =>
  toldMigration({
    guest: `web-${index}`,
    atUnixMs: NOW_MS - 60_000 - index * 1_000,
    phase: index % 9 === 4 ? Phase.FAILED : Phase.COMPLETED,
    labels: { team: `t${index % 7}`, ...(index < FEW ? { few: "yes" } : {}) },
    blackoutUs: 5_000 + index,
  });

interface Scrolled {
  readonly times: FrameTimes;
  /** Of a frame. */
  readonly cpuMs: number;
}

describe("the observer's list of thousands", { skip: skipWithout("chromium", "natsServer") }, () => {
  const bench = new ObserverBench();
  let page: Page;
  before(async () => {
    await bench.start();
    await bench.told.history(Array.from({ length: MANY }, (_, index) => ended(index)));
    page = (await bench.openPage({ viewport: { width: 1280, height: 800 } })).page;
    await page.getByText("5,000 migrations, 0 not ended").waitFor();
  });
  after(() => bench.end());

  async function scroll(label: string, count: RegExp): Promise<Scrolled> {
    await page.getByRole("searchbox", { name: "Label" }).fill(label);
    await page.getByText(count).waitFor();
    const spent = await countMainThread(page);
    const times = await page.evaluate(scrollFrames, { frames: FRAMES, stepPx: STEP_PX });
    return { times, cpuMs: (await spent()) / FRAMES };
  }

  async function judge(t: TestContext, what: () => string): Promise<void> {
    const few: Scrolled[] = [];
    const many: Scrolled[] = [];
    for (let turn = 0; turn < TURNS; turn++) {
      few.push(await scroll("few", /^50 of 5,/));
      many.push(await scroll("", /^5,\d+ migrations/));
    }
    const [cheap, dear] = [few, many].map((turns) => percentilesOf(turns.map(({ cpuMs }) => cpuMs)).p50);
    const apart = [few, many].map((turns) => percentilesOf(turns.flatMap(({ times }) => times.betweenMs)));
    const rows = Math.max(...many.map(({ times }) => times.rowsInDocument));
    t.diagnostic(
      `${what()}: processor time of a frame ${dear} ms (${FEW} rows: ${cheap} ms); frames p50 ${apart[1]?.p50} ms and ` +
        `p99 ${apart[1]?.p99} ms apart (${FEW} rows: ${apart[0]?.p50} and ${apart[0]?.p99}); ${rows} rows in the document`,
    );
    assert.ok(dear !== null && dear !== undefined && cheap !== null && cheap !== undefined);
    assert.ok(dear <= FRAME_CPU_MS, `a frame takes ${dear} ms`);
    assert.ok(dear <= RATIO * cheap + ALLOWANCE_MS, `${dear} ms instead of ${cheap} ms`);
    assert.ok(rows <= 60, `${rows} rows`);
  }

  it("scrolls as one of fifty does", async (t) => {
    await judge(t, () => "5,000 migrations");
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
    try {
      await judge(t, () => `5,000 migrations, ${told} events meanwhile`);
    } finally {
      isOver = true;
      await telling;
    }
    assert.ok(told > 50, `${told} events`);
  });

  it("filters thousands between two keys", async (t) => {
    await page.locator("#rows").evaluate((list) => list.scrollTo(0, 0));
    const spent = await countMainThread(page);
    await page.getByRole("searchbox", { name: "Text" }).fill("web-4999");
    await page.getByText("1 of 5,").waitFor();
    const spentMs = await spent();
    t.diagnostic(`${spentMs.toFixed(0)} ms of processor time until it was shown`);
    assert.ok(spentMs < FILTER_CPU_MS, `${spentMs} ms`);
  });

  it("brings all of them again to a page that is loaded", async (t) => {
    const beganAt = performance.now();
    const { page: another } = await bench.openPage({ viewport: { width: 360, height: 740 } });
    await another.getByText(/^5,\d+ migrations/).waitFor();
    t.diagnostic(`a page with all of them after ${(performance.now() - beganAt).toFixed(0)} ms`);
    await another.close();
  });
});
