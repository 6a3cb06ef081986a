import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before } from "node:test";
import type { Browser, Page } from "playwright-core";
import type { Log } from "../../services/log/log.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { ensureStores } from "../../services/nats/streams.ts";
import { OwnNatsServer } from "../../services/nats-server/own-nats-server.ts";
import { launchChromium } from "./chromium.ts";
import { ToldNats } from "./told-nats.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };
const PROGRAM = join(import.meta.dirname, "..", "..", "services", "observer", "main.js");
const READY_MS = 30_000;
const END_MS = 5_000;
/** Of a machine that does much else. */
const SEEN_WITHIN_MS = 20_000;

/** A nats-server, the observer's program reading it, and a Chromium that looks at its page. */
export class ObserverBench {
  readonly #ends: (() => Promise<unknown>)[] = [];
  #nats: OwnNatsServer | undefined;
  #told: ToldNats | undefined;
  #observer: ChildProcess | undefined;
  #browser: Browser | undefined;
  url = "";

  get told(): ToldNats {
    return required(this.#told);
  }

  get browser(): Browser {
    return required(this.#browser);
  }

  async start(): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), "switchover-observer-"));
    this.#ends.push(() => rm(folder, { recursive: true, force: true }));
    const natsFolder = join(folder, "nats");
    await mkdir(natsFolder);
    const nats = await OwnNatsServer.start({
      address: "127.0.0.1",
      port: 0,
      folder: natsFolder,
      log: SILENT,
    });
    this.#nats = nats;
    this.#ends.push(() => nats.close());
    const link = NatsLink.open({ url: nats.url, name: "told", log: SILENT });
    this.#ends.push(() => link.close());
    const connection = await link.whenReachable(READY_MS);
    await ensureStores(connection, 1);
    this.#told = new ToldNats(connection);
    await this.startObserver();
    this.#ends.push(() => this.stopObserver("SIGTERM"));
    const browser = await launchChromium();
    this.#browser = browser;
    this.#ends.push(() => browser.close());
  }

  /** Starts it, after it was ended on the same port. */
  async startObserver(): Promise<void> {
    const listen = this.url === "" ? "127.0.0.1:0" : new URL(this.url).host;
    const child = spawn(
      process.execPath,
      [PROGRAM, "--nats-url", required(this.#nats).url, "--listen", listen],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    this.#observer = child;
    this.url = await new Promise<string>((resolve, reject) => {
      const lines: string[] = [];
      const timer = setTimeout(() => reject(new Error(`No observer:\n${lines.join("\n")}`)), READY_MS);
      const fail = (): void => reject(new Error(`The observer ended:\n${lines.join("\n")}`));
      child.once("exit", fail);
      createInterface({ input: child.stderr }).on("line", (text) => {
        lines.push(text);
        const { msg, url } = JSON.parse(text) as { msg: string; url?: string };
        if (msg !== "The observer listens." || url === undefined) return;
        clearTimeout(timer);
        child.off("exit", fail);
        resolve(url);
      });
    });
  }

  async stopObserver(signal: NodeJS.Signals): Promise<void> {
    const child = this.#observer;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    const force = setTimeout(() => child.kill("SIGKILL"), END_MS);
    await ended;
    clearTimeout(force);
  }

  /** The page in a window of its own; what its scripts complain of is collected. */
  async openPage(
    options: Parameters<Browser["newPage"]>[0] = {},
    path = "",
  ): Promise<{ readonly page: Page; readonly complaints: string[] }> {
    const page = await this.browser.newPage(options);
    page.setDefaultTimeout(SEEN_WITHIN_MS);
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    await page.goto(`${this.url}${path}`);
    return { page, complaints };
  }

  async end(): Promise<void> {
    for (let end = this.#ends.pop(); end !== undefined; end = this.#ends.pop()) await end();
  }
}

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("The bench stands within tests alone.");
  return value;
}

/** For all tests of a file. */
export function observerBench(): ObserverBench {
  const bench = new ObserverBench();
  before(() => bench.start());
  after(() => bench.end());
  return bench;
}
