import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { AdmissionSlot } from "../../proto/gen/switchover/v1/admission.ts";
import { SLOT_BUCKET } from "../../proto/subjects.ts";
import type { Log } from "../../services/log/log.ts";
import { NatsLink } from "../../services/nats/connection.ts";
import { NatsSlotStore } from "../../services/nats/slot-store.ts";
import { ensureStores } from "../../services/nats/streams.ts";
import { NatsNode } from "../fleet/nats-node.ts";
import { pollUntil } from "../lab/deadline.ts";
import { skipWithout } from "../resource.ts";

const SERVERS = 3;
const READY_WITHIN_MS = 60_000;
/** The client's own watch takes 10 s and more to notice. */
const HEARD_WITHIN_MS = 6_000;
const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

test("a watch goes on soon where the server that brought it is killed, though its connection goes to another", {
  skip: skipWithout("natsServer"),
}, async (t) => {
  const nodes = await startCluster(t);
  const [home] = nodes;
  assert.ok(home !== undefined);
  const link = NatsLink.open({ url: home.url, name: t.name, log: silent });
  t.after(() => link.close());
  await ensureStores(await link.whenReachable(READY_WITHIN_MS), SERVERS);
  const slots = new NatsSlotStore(link);
  const placing = await home.placingServer();
  // Without the server that places consumers nobody gets one, until the others have chosen another in 4 to 9 s.
  const suits = (server: string) => server !== home.name && server !== placing;
  const { heard, broughtBy } = await watchFromServer(t, link, slots, suits);
  await slots.write(slotOf("before"), 0);
  await pollUntil(() => heard.has("before") || undefined, READY_WITHIN_MS, "The slot written before", 10);

  const lost = nodes.find(({ name }) => name === broughtBy);
  assert.ok(lost !== undefined && lost !== home);
  await lost.kill();
  // The others choose who leads the stream where that was the one that is gone.
  const written = () => slots.write(slotOf("after"), 0).catch(() => undefined);
  await pollUntil(written, READY_WITHIN_MS, "The write after the kill", 50);
  assert.equal(link.state, "reachable");
  await pollUntil(() => heard.has("after") || undefined, HEARD_WITHIN_MS, "The slot written after", 10);
});

async function startCluster(t: TestContext): Promise<readonly NatsNode[]> {
  const folder = await mkdtemp(join(tmpdir(), "switchover-cluster-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const nodes = await NatsNode.plan(SERVERS, folder);
  for (const node of nodes) {
    t.after(() => node.kill());
    node.start();
  }
  await Promise.all(nodes.map((node) => node.whenReady(READY_WITHIN_MS)));
  return nodes;
}

/** A watch that a suitable server brings: which one does is the cluster's choice. */
async function watchFromServer(
  t: TestContext,
  link: NatsLink,
  slots: NatsSlotStore,
  suits: (server: string) => boolean,
) {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const before = new Set((await consumersOf(link)).map(({ name }) => name));
    const ending = new AbortController();
    t.after(() => ending.abort());
    const heard = new Set<string>();
    const watching = (async () => {
      for await (const { slot } of slots.watch(ending.signal, () => undefined)) heard.add(slot.guestId);
    })();
    t.after(() => watching);
    const broughtBy = await pollUntil(
      () => leaderOfNewest(link, before),
      READY_WITHIN_MS,
      "The consumer",
      20,
    );
    if (suits(broughtBy)) return { heard, broughtBy };
    ending.abort();
    await watching;
  }
  throw new Error("No suitable server brings a watch.");
}

async function leaderOfNewest(link: NatsLink, before: ReadonlySet<string>): Promise<string | undefined> {
  const newest = (await consumersOf(link)).find(({ name }) => !before.has(name));
  return newest?.cluster?.leader;
}

async function consumersOf(link: NatsLink) {
  const { consumers } = (await link.connection?.jetstreamManager()) ?? assert.fail("The link is away.");
  return consumers.list(`KV_${SLOT_BUCKET}`).next();
}

const slotOf = (guestId: string): AdmissionSlot =>
  AdmissionSlot.fromPartial({ guestId, migrationId: `${guestId}-000000000000`, epoch: 2n ** 63n });
