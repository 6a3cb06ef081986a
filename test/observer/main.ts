/** Takes the pictures of docs/observer.md: of the observer's page, while a real guest with eight NICs migrates in a lab. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { figureBottomPx } from "../in-page/looks.ts";
import type { MigrationMode } from "../lab/bare-migration.ts";
import { repositoryRoot } from "../lab/repository-root.ts";
import { UNTIMED_BOUNDS } from "../lab/witness/invariants.ts";
import { SparedGuests, type SparedLab } from "../qemu/spared-guests.ts";
import { LabObserver } from "./lab-observer.ts";

const FOLDER = join(repositoryRoot(), "docs", "images");
const LIST_SIZE = { width: 1280, height: 420 } as const;
const MODES: readonly MigrationMode[] = ["live", "post-copy", "live", "post-copy", "live"];
const LABELS = { team: "blue" } as const;
const SEEN_WITHIN_MS = 20_000;
const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

async function takePictures({ guests: [guest], managed }: SparedLab): Promise<void> {
  if (guest === undefined) throw new Error("The lab has no guest.");
  const observer = await LabObserver.start(managed, LIST_SIZE);
  try {
    const { page } = observer;
    let last = "";
    for (const [index, mode] of MODES.entries()) {
      const to = guest.current.host === "ha" ? "hb" : "ha";
      const isLast = index === MODES.length - 1;
      const { migration } = await guest.cross({
        ...{ to, mode, bounds: UNTIMED_BOUNDS },
        start: (requestId, spec) =>
          managed.controlPlane.startMigration(requestId, { ...spec, labels: LABELS }),
        whileRunning: async ({ migrationId }) => {
          // The last is taken on its way.
          await managed.observer.waitForPhase(migrationId, Phase.TRANSFERRING, SEEN_WITHIN_MS);
          if (!isLast) return;
          await page.locator(`.row[data-id="${migrationId}"]`, { hasText: "transferring" }).waitFor();
          await page.screenshot({ path: join(FOLDER, "observer-list.png") });
        },
      });
      say(`${migration.migrationId} ${mode} -> ${to}`);
      if (mode === "live") last = migration.migrationId;
    }
    await page.goto(`${observer.url}#/migrations/${last}`);
    await page.locator("svg.timeline").waitFor();
    const height = await page.evaluate(figureBottomPx);
    await page.setViewportSize({ width: LIST_SIZE.width, height });
    await page.locator("#back").blur();
    await page.screenshot({ path: join(FOLDER, "observer-migration.png") });
  } finally {
    await observer.close();
  }
}

await mkdir(FOLDER, { recursive: true });
const spared = await SparedGuests.boot(["ha"], { wiring: "mixed" });
try {
  await spared.step({ diagnostic: say }, takePictures);
} finally {
  await spared.close();
}
say(`The pictures are in ${FOLDER}.`);
