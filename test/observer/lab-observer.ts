import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Browser, Page } from "playwright-core";
import { LabProgram } from "../lab/managed/lab-program.ts";
import type { ManagedLab } from "../lab/managed/managed-lab.ts";
import { launchChromium } from "./chromium.ts";

const SERVICES = join(import.meta.dirname, "..", "..", "services");
const PORT = 7480;
const READY_TIMEOUT_MS = 20_000;
const SEEN_WITHIN_MS = 20_000;
const RUN_TIMEOUT_MS = 30_000;

/** The observer's program in a lab, and a Chromium in the lab's control network that looks at its page. */
export class LabObserver {
  readonly url: string;
  readonly page: Page;
  readonly #managed: ManagedLab;
  readonly #program: LabProgram;
  readonly #browser: Browser;

  private constructor(managed: ManagedLab, url: string, program: LabProgram, browser: Browser, page: Page) {
    this.#managed = managed;
    this.url = url;
    this.#program = program;
    this.#browser = browser;
    this.page = page;
  }

  /** Resolves when the page is live. This process must be in the lab's control namespace, as an open cluster has it. */
  static async start(
    managed: ManagedLab,
    viewport: { readonly width: number; readonly height: number },
  ): Promise<LabObserver> {
    const { cluster, lab } = managed;
    const { control, controlAddress } = lab.topology;
    const listen = `${controlAddress}:${PORT}`;
    const program = new LabProgram({
      namespace: control,
      logPath: join(cluster.logs, "observer.log"),
      file: process.execPath,
      args: [join(SERVICES, "observer", "main.js"), "--nats-url", cluster.natsUrl, "--listen", listen],
    });
    await program.saying("The observer listens.", READY_TIMEOUT_MS);
    const browser = await launchChromium();
    const page = await browser.newPage({ viewport, colorScheme: "light", timezoneId: "UTC" });
    page.setDefaultTimeout(SEEN_WITHIN_MS);
    const url = `http://${listen}/`;
    await page.goto(url);
    await page.locator("#link.is-alive").waitFor();
    return new LabObserver(managed, url, program, browser, page);
  }

  /** What `switchoverctl receipt ID --json` prints. */
  async receipt(migrationId: string): Promise<unknown> {
    const { coordinatorTarget, operatorFlags } = this.#managed.cluster;
    const args = ["receipt", migrationId, "--json", "--coordinator", coordinatorTarget, ...operatorFlags];
    const child = spawn(process.execPath, [join(SERVICES, "switchoverctl", "main.js"), ...args], {
      stdio: ["ignore", "pipe", "inherit"],
      timeout: RUN_TIMEOUT_MS,
    });
    const [printed] = await Promise.all([text(child.stdout), once(child, "exit")]);
    return JSON.parse(printed);
  }

  async close(): Promise<void> {
    await this.#browser.close();
    await this.#program.close();
  }
}
