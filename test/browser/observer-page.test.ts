import assert from "node:assert/strict";
import { after, before, describe, it, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Page } from "playwright-core";
import { receiptOf } from "../../coordinator/inventory/receipt.ts";
import type { CompleteState } from "../../coordinator/migration/complete-state.ts";
import { MigrationMode, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { Receipt } from "../../proto/gen/switchover/v1/receipt.ts";
import type { MigrationDetail } from "../../services/observer/page/wire.ts";
import { groundColour, guestsInOrder, isChosenInSight, overflowPx } from "../in-page/looks.ts";
import { graveFaults } from "../observer/chromium.ts";
import { ObserverBench } from "../observer/observer-bench.ts";
import { receiptFigures, shownFigures } from "../observer/shown-figures.ts";
import { toldMigration } from "../observer/told-migration.ts";
import { skipWithout } from "../resource.ts";

const NOW_MS = Date.now();
const BEAT_MS = 1_000;
const MINUTE_MS = 60_000;
const DESK = { viewport: { width: 1280, height: 800 } } as const;
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true } as const;
/** Of whom nobody would believe that they are data. */
const HOSTILE = '<img src=x onerror="window.taken = true"><script>window.taken = true</script>';

const ENDED = Array.from({ length: 40 }, (_, index) =>
  toldMigration({
    guest: `web-${index}`,
    atUnixMs: NOW_MS - (index + 1) * MINUTE_MS,
    from: index % 2 === 0 ? "ha" : "hb",
    to: index % 2 === 0 ? "hb" : "hc",
    mode: index % 3 === 0 ? MigrationMode.POST_COPY : MigrationMode.LIVE,
    phase: index % 10 === 7 ? Phase.FAILED : Phase.COMPLETED,
    labels: { team: index % 4 === 0 ? "blue" : "green" },
    blackoutUs: 9_000 + 113 * index,
    nics: 1 + (index % 3),
    ...(index % 10 === 7 ? { reason: HOSTILE } : {}),
  }),
);

/** Heartbeats, until it is ended. */
function keepBeating(bench: ObserverBench, hosts: readonly string[]): { readonly end: () => Promise<void> } {
  const ending = new AbortController();
  const beating = (async () => {
    while (!ending.signal.aborted) {
      for (const host of hosts) await bench.told.heartbeat(host);
      await delay(BEAT_MS, undefined, { signal: ending.signal }).catch(() => {});
    }
  })();
  return {
    end: () => {
      ending.abort();
      return beating;
    },
  };
}

describe("the observer's page in Chromium", { skip: skipWithout("chromium", "natsServer") }, () => {
  const bench = new ObserverBench();
  before(async () => {
    await bench.start();
    await bench.told.history(ENDED);
    for (const host of ["ha", "hb", "hc"]) await bench.told.heartbeat(host);
    await bench.told.event({
      ...{ guestId: "web-0", hostId: "hb", sequence: 1n, fence: { epoch: 1n, revision: 0n } },
      event: {
        $case: "registrationDrifted",
        value: { reason: "ENTRY_GONE", sentence: HOSTILE, noticedAtUnixUs: 0n },
      },
    });
  });
  after(() => bench.end());

  /** A page that has heard all, without a word of complaint when the test ends. */
  async function open(t: TestContext, options = {}, path = ""): Promise<Page> {
    const { complaints, page } = await bench.openPage({ ...DESK, ...options }, path);
    t.after(() => page.close());
    await page.locator("#link.is-alive").waitFor();
    t.after(() => assert.deepEqual(complaints, []));
    return page;
  }
  const field = (page: Page, name: string) => page.getByRole("searchbox", { name, exact: true });
  const guestsOf = (page: Page): Promise<string[]> => page.locator(".space .cell.guest").allTextContents();
  const countOf = (page: Page): Promise<string | null> => page.locator("#count").textContent();

  it("lists migrations, newest first, with a word and a sign for how each stands", async (t) => {
    const page = await open(t);
    await page.getByText("40 migrations, 0 not ended").waitFor();
    const order = await page.evaluate(guestsInOrder);
    assert.deepEqual(order.slice(0, 4), ["web-0", "web-1", "web-2", "web-3"]);
    const failed = page.locator(".space .row", { hasText: "web-7" }).first();
    assert.match((await failed.textContent()) ?? "", /^✕ failed/);
    assert.equal(await page.title(), "Migrations · Switchover");
  });

  it("filters by text, phase, host and label, and keeps that in the address", async (t) => {
    const page = await open(t);
    await field(page, "Text").fill("web-1");
    await page.getByText("11 of 40 migrations").waitFor();
    await page.getByLabel("Phase").selectOption("failed");
    await page.getByText("1 of 40 migrations").waitFor();
    assert.deepEqual(await guestsOf(page), ["web-17"]);
    await page.getByLabel("Phase").selectOption("");
    await field(page, "Host").fill("hc");
    await page.getByText("6 of 40 migrations").waitFor();
    await field(page, "Text").fill("");
    await field(page, "Host").fill("");
    await field(page, "Label").fill("team=blue");
    await page.getByText("10 of 40 migrations").waitFor();
    const again = await open(t, {}, new URL(page.url()).hash);
    await again.getByText("10 of 40 migrations").waitFor();
    assert.equal(await field(again, "Label").inputValue(), "team=blue");
    await field(again, "Text").fill("nobody");
    await again.getByText("No migration is like that.").waitFor();
  });

  it("is used by keys alone: filter, choose, open, and back to the same place", async (t) => {
    const page = await open(t);
    await page.getByText("40 migrations").waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("web-3");
    await page.getByText("11 of 40 migrations").waitFor();
    await page.keyboard.press("Escape");
    for (const key of ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp"]) await page.keyboard.press(key);
    const active = page.locator(".space .row.is-active");
    assert.equal(await active.locator(".guest").textContent(), "web-30");
    assert.equal(
      await page.locator("#rows").getAttribute("aria-activedescendant"),
      await active.getAttribute("id"),
    );
    await page.keyboard.press("End");
    assert.equal(await active.locator(".guest").textContent(), "web-39");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: /^web-39: hb → hc, post-copy$/ }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByText("11 of 40 migrations").waitFor();
    assert.equal(await active.locator(".guest").textContent(), "web-39");
    await page.keyboard.press("Home");
    assert.equal(await active.locator(".guest").textContent(), "web-3");
  });

  it("keeps the chosen row in sight however far the keys go", async (t) => {
    const page = await open(t, { viewport: { width: 1280, height: 400 } });
    await page.getByText("40 migrations").waitFor();
    await page.locator("#rows").focus();
    for (const key of ["End", "PageUp", "PageUp", "ArrowUp", "Home", "PageDown"]) {
      await page.keyboard.press(key);
      assert.equal(await page.evaluate(isChosenInSight), true, key);
    }
  });

  it("shows a timeline whose figures are the receipt's, for each NIC on two lanes", async (t) => {
    const state = ENDED[2] as CompleteState;
    const page = await open(t, {}, `#/migrations/${state.migration.migrationId}`);
    await page.locator("svg.timeline").waitFor();
    assert.deepEqual(await shownFigures(page), receiptFigures(Receipt.toJSON(receiptOf(state))));
    const titles = await page.locator(".timeline .group-title").allTextContents();
    assert.deepEqual(titles, ["CPUs", ...[0, 1, 2].map((n) => `eth${n} 52:54:00:5e:00:0${n + 1}`)]);
    const widthOf = async (selector: string): Promise<number> =>
      Number(await page.locator(selector).first().getAttribute("width"));
    const answer = await fetch(`${bench.url}api/migrations/${state.migration.migrationId}`);
    const { blackHoleUs, blackoutUs } = ((await answer.json()) as MigrationDetail).row.windows;
    assert.ok(blackHoleUs !== null && blackoutUs !== null);
    const scale = (await widthOf("svg .blackout")) / blackoutUs;
    assert.ok(Math.abs((await widthOf(".gap.neither")) - blackHoleUs * scale) < 1, "drawn to scale");
    assert.match(
      (await page.locator("svg.timeline").getAttribute("aria-label")) ?? "",
      /stood still for 9\.226 ms/,
    );
  });

  it("reads nothing of what it is told as markup", async (t) => {
    const page = await open(t, {}, "#/notices");
    await page.getByText(HOSTILE).waitFor();
    const failed = ENDED[7]?.migration.migrationId ?? "";
    await page.goto(`${bench.url}#/migrations/${failed}`);
    await page.locator(".facts").getByText(HOSTILE).waitFor();
    await page.goto(`${bench.url}#/migrations/${encodeURIComponent(HOSTILE)}`);
    await page.getByText(`${HOSTILE} is not kept here.`).waitFor();
    await page.goto(`${bench.url}#/migrations/%E0%A4%A`);
    await page.getByText("%E0%A4%A is not kept here.").waitFor();
    assert.equal(await page.locator("main img, main script").count(), 0);
    assert.equal(await page.evaluate("window.taken"), undefined);
  });

  it("shows hosts with the age of their heartbeats, their guests and drift", async (t) => {
    const beating = keepBeating(bench, ["ha", "hb", "hc"]);
    t.after(beating.end);
    const page = await open(t, {}, "#/hosts");
    const card = page.locator(".host", { hasText: "hb" }).first();
    await card.getByText("alive").waitFor();
    assert.match(
      (await card.textContent()) ?? "",
      /heartbeat \d+(\.\d s| ms) ago · \d+ guests, 1 with drift/,
    );
    assert.match((await card.locator(".drifting").textContent()) ?? "", /^web-0 ≠ drift: ENTRY_GONE$/);
    await beating.end();
    // Nobody beats for them: they fall silent, without a word from NATS.
    await card.getByText("silent").waitFor({ timeout: 60_000 });
    await page.getByText("3 silent").waitFor();
    // Nobody knows of that one but by its guests.
    await bench.told.event({
      ...{ guestId: "orphan", hostId: "hx", sequence: 1n },
      event: { $case: "cpusStarted", value: { contSentAtUnixUs: 0n, resumedAtUnixUs: 1n } },
    });
    await page.locator(".host", { hasText: "no heartbeat · 1 guest" }).waitFor();
  });

  it("goes through a restart of the observer without loss, and without being loaded anew", async (t) => {
    const { page } = await bench.openPage(DESK);
    t.after(() => page.close());
    await page.getByText("40 migrations").waitFor();
    await page.evaluate("window.isStillHere = true");
    const moving = (phase: Phase, revision: bigint) =>
      toldMigration({ guest: "moving", atUnixMs: NOW_MS, phase, revision });
    await bench.told.record(moving(Phase.TRANSFERRING, 2n));
    await page.locator(".space .row.is-open", { hasText: "moving" }).waitFor();
    await bench.stopObserver("SIGKILL");
    await page.getByText("observer away; shown as last heard").waitFor();
    assert.equal(await countOf(page), "41 migrations, 1 not ended");
    await bench.told.record(moving(Phase.COMPLETED, 9n));
    await bench.told.history([toldMigration({ guest: "meanwhile", atUnixMs: NOW_MS - 1 })]);
    await bench.startObserver();
    await page.getByText("42 migrations, 0 not ended").waitFor();
    await page.locator(".space .row.is-completed", { hasText: "moving" }).waitFor();
    await page.locator("#link.is-alive").waitFor();
    await bench.told.record(toldMigration({ guest: "after", atUnixMs: NOW_MS + 1, phase: Phase.PREPARING }));
    await page.getByText("43 migrations, 1 not ended").waitFor();
    assert.equal(await page.evaluate("window.isStillHere"), true);
  });

  for (const colorScheme of ["light", "dark"] as const) {
    for (const [name, size] of [
      ["a desk", DESK],
      ["a phone of 360 pixels", PHONE],
    ] as const) {
      it(`has no grave fault by axe-core and fits ${name}, ${colorScheme}`, async (t) => {
        const beating = keepBeating(bench, ["ha"]);
        t.after(beating.end);
        const places = ["", "#/hosts", "#/notices", `#/migrations/${ENDED[1]?.migration.migrationId}`];
        for (const place of places) {
          const page = await open(t, { ...size, colorScheme }, place);
          await page
            .locator("section:not([hidden]) :is(.space .row, .host, #notices td, .timeline)")
            .first()
            .waitFor();
          assert.deepEqual(await graveFaults(page), [], place);
          assert.equal(await page.evaluate(overflowPx), 0, `${place} is wider than the screen`);
          const ground = await page.evaluate(groundColour);
          const [red = 0] = (/\d+/.exec(ground) ?? []).map(Number);
          assert.equal(red < 64, colorScheme === "dark", ground);
          const picture = await page.screenshot();
          assert.ok(picture.length > 5_000);
        }
      });
    }
  }
});
