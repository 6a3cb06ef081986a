/**
 * What Switchover needs of NATS, against a real nats-server: whoever changes the client library or the server's version
 * finds out by the tests on this bench. One server serves all tests of a file, which kill and restart it, so they run one
 * after the other.
 */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, type TestContext } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import type { Log } from "../../services/log/log.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { ensureStores } from "../../services/nats/streams.ts";
import { OwnNatsServer } from "../../services/nats-server/own-nats-server.ts";

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
export const HA = "ha" as HostId;
export const WAIT_MS = 15_000;

export class NatsBench {
  #folder = "";
  #server: OwnNatsServer | null = null;

  get server(): OwnNatsServer {
    if (this.#server === null) throw new Error("The server runs within tests alone.");
    return this.#server;
  }

  async start(): Promise<void> {
    this.#folder = await mkdtemp(join(tmpdir(), "switchover-nats-"));
    this.#server = await this.startServer("nats");
    const link = NatsLink.open({ url: this.#server.url, name: "test", log: silent });
    await ensureStores(await link.whenReachable(WAIT_MS), 1);
    await link.close();
  }

  async end(): Promise<void> {
    await this.#server?.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** One more beside the others; made. */
  newFolder(name: string): string {
    const path = join(this.#folder, name);
    mkdirSync(path);
    return path;
  }

  /** One more server, on a folder of its own and a free port, without any stream. */
  startServer(folder: string): Promise<OwnNatsServer> {
    return OwnNatsServer.start({
      address: "127.0.0.1",
      port: 0,
      folder: this.newFolder(folder),
      log: silent,
    });
  }

  async openLink(t: TestContext): Promise<NatsLink> {
    const link = NatsLink.open({ url: this.server.url, name: t.name, log: silent });
    t.after(() => link.close());
    await link.whenReachable(WAIT_MS);
    return link;
  }

  /** The server dies without a word and comes back on the same store and port. */
  async killServer(link: NatsLink): Promise<void> {
    const killed = this.server.pid;
    process.kill(killed, "SIGKILL");
    await until(() => this.server.pid !== killed && this.server.pid !== 0, "the server to be started again");
    await until(() => link.state === "reachable", "the link to come back");
  }
}

/** For all tests of a file. */
export function natsBench(): NatsBench {
  const bench = new NatsBench();
  before(() => bench.start());
  after(() => bench.end());
  return bench;
}

/** For states that announce themselves to nobody. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `Waited in vain for ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export async function rejection(promise: Promise<unknown>): Promise<SwitchoverError> {
  try {
    await promise;
  } catch (thrown) {
    assert.ok(thrown instanceof SwitchoverError, String(thrown));
    return thrown;
  }
  throw new Error("It did not fail.");
}

let names = 0;
export function newGuest(): GuestId {
  names += 1;
  return `guest-${process.pid}-${names}` as GuestId;
}

export function eventOf(migrationId: MigrationId, guestId: GuestId, sequence: bigint): FeedEvent {
  const event = { $case: "announced", value: { round: Number(sequence) } } as const;
  return FeedEvent.create({ migrationId, guestId, hostId: HA, sequence, event });
}
