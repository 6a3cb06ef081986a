import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, chromium } from "playwright-core";

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

export function hasChromium(): boolean {
  return existsSync(CHROMIUM);
}

/** The file of axe-core that is read into a page. */
export function axePath(): string {
  return createRequire(import.meta.url).resolve("axe-core/axe.min.js");
}
