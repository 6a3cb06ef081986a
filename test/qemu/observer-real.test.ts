import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { wordOf } from "../../services/wording/words.ts";
import { phasesSeen, watchPhases } from "../in-page/phases.ts";
import { UNTIMED_BOUNDS } from "../lab/witness/invariants.ts";
import { LabObserver } from "../observer/lab-observer.ts";
import { receiptFigures, shownFigures } from "../observer/shown-figures.ts";
import { skipWithout } from "../resource.ts";
import { SparedGuests } from "./spared-guests.ts";

const SIZE = { width: 1280, height: 900 } as const;

describe("the observer's page while a real guest migrates", {
  skip: skipWithout("root", "qemu", "natsServer", "chromium"),
  timeout: 400_000,
}, () => {
  let spared: SparedGuests;
  before(async () => {
    spared = await SparedGuests.boot(["ha"]);
  });
  after(() => spared?.close());

  for (const mode of ["live", "post-copy"] as const) {
    it(`shows it move through its phases, and then its receipt's figures, in ${mode} mode`, async (context) => {
      await spared.step(context, async ({ guests: [guest], managed }) => {
        assert.ok(guest);
        const observer = await LabObserver.start(managed, SIZE);
        try {
          const { page } = observer;
          await page.evaluate(watchPhases);
          const from = guest.current.host;
          const to = from === "ha" ? "hb" : "ha";
          const crossing = await guest.cross({
            ...{ to, mode, bounds: UNTIMED_BOUNDS },
            whileRunning: async ({ migrationId }) => {
              await page.locator(`.row[data-id="${migrationId}"]`).waitFor();
            },
          });
          assert.equal(crossing.guest, "alive");
          const { migrationId, phases } = crossing.migration;
          await page.locator(`.row.is-completed[data-id="${migrationId}"]`).waitFor();

          const shown = await page.evaluate(phasesSeen, migrationId);
          const entered = phases.map(({ phase }) => wordOf(Phase, phase));
          assert.deepEqual(
            shown,
            entered.filter((phase) => shown.includes(phase)),
            "in their order",
          );
          assert.ok(shown.includes("transferring") && shown.at(-1) === "completed", shown.join(", "));

          await page.goto(`${observer.url}#/migrations/${migrationId}`);
          await page.locator("svg.timeline").waitFor();
          const figures = await shownFigures(page);
          assert.deepEqual(figures, receiptFigures(await observer.receipt(migrationId)));
          assert.match(figures["window blackout"] ?? "", /^\d+\.\d{3}$/);
          context.diagnostic(
            `shown ${shown.join(", ")}; CPUs stood still ${figures["window blackout"]} ms, ` +
              `MAC on neither host ${figures["window black-hole"]} ms, added ${figures["window overhead"]} ms`,
          );

          await page.goto(`${observer.url}#/hosts`);
          const card = page.locator(".host", { has: page.getByRole("heading", { name: to }) });
          await card.getByRole("link", { name: "web", exact: true }).waitFor();
          await card.getByText("alive").waitFor();
        } finally {
          await observer.close();
        }
      });
    });
  }
});
