import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import { type Browser, chromium, type Page } from "playwright-core";

/** Where Debian's package has it. */
export const CHROMIUM = "/usr/bin/chromium";

/**
 * Debian's Chromium, without a window. It asks nobody on the network for anything; as root it has no sandbox. A child of
 * this process, in the network namespace that this process is in.
 */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"],
  });
}

/** What axe-core finds on the page as it stands, of what hinders people gravely; each names its rule and elements. */
export async function graveFaults(page: Page): Promise<readonly string[]> {
  // Not as a script of the page, which the page's own policy refuses.
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
  const found = await page.evaluate("axe.run()");
  const { violations } = found as AxeResults;
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ help, id, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(" ")}`);
}
