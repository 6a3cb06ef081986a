import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Admission } from "../../coordinator/admission/admission.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { isTerminal } from "../../coordinator/migration/phase-edges.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import type { AgentPort } from "../../coordinator/runner/agent-port.ts";
import { MigrationRunner } from "../../coordinator/runner/migration-runner.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { GuestId } from "../../proto/ids.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { waitMs } from "../../services/nats/connection.ts";
import { NatsGuestRecordStore } from "../../services/nats/guest-record-store.ts";
import { NatsPhaseFeed } from "../../services/nats/phase-feed.ts";
import { NatsSlotStore } from "../../services/nats/slot-store.ts";
import { specOf } from "./coordinator-story.ts";
import { natsBench, silent, until } from "./nats-bench.ts";

const nats = natsBench();

const LIMITS = { perSource: 2, perDestination: 2, inAll: 3, queued: 100 };
const GUESTS = 24;

/** Hosts that take their time to refuse, and notice how many guests are asked about at once. */
class RefusingHosts {
  readonly asked = new Set<string>();
  most = 0;
  readonly #about = new Map<string, number>();

  async preflight(hostId: string, { guestId }: { readonly guestId: string }) {
    const key = `${hostId} ${guestId}`;
    this.#about.set(key, (this.#about.get(key) ?? 0) + 1);
    this.asked.add(guestId);
    const guestsAt = [...this.#about].filter(([about, count]) => count > 0 && about.startsWith(`${hostId} `));
    this.most = Math.max(this.most, guestsAt.length);
    await waitMs(40);
    this.#about.set(key, (this.#about.get(key) ?? 1) - 1);
    return { refusals: [{ reason: "VMM_BUSY", sentence: "It is busy.", field: "" }], instance: undefined };
  }
}

test("three coordinators on one NATS never exceed a limit, though one goes and the server is killed", async (t) => {
  const hosts = new RefusingHosts();
  const coordinators = await Promise.all([1, 2, 3].map(() => openCoordinator(t, hosts)));
  const route = (number: number) => ({
    sourceHostId: number % 2 === 0 ? "ha" : "hc",
    destinationHostId: "hb",
  });
  const guestIds = Array.from({ length: GUESTS }, (_, number) => `line-${process.pid}-${number}` as GuestId);
  await Promise.all(
    guestIds.map((guestId, number) => {
      const spec = specOf({ guestId, ...route(number) });
      return coordinators[number % 3]?.api.startMigration({ requestId: "r1", spec, validateOnly: false });
    }),
  );
  await until(() => hosts.asked.size > 3, "some to begin");
  coordinators[0]?.leave();
  const [, second] = coordinators;
  assert.ok(second !== undefined);
  await nats.killServer(second.link);
  const left = async () => {
    const records = await Promise.all(guestIds.map((guestId) => second.store.get(guestId)));
    return records.filter((stored) => {
      const phase = stored?.record.migration?.migration?.phase ?? Phase.PENDING;
      return !isTerminal(phase);
    }).length;
  };
  for (let open = GUESTS; open > 0; open = await left().catch(() => open)) await waitMs(200);
  assert.equal(hosts.asked.size, GUESTS);
  assert.ok(hosts.most <= 2, `${hosts.most} at one host`);
  await until(async () => {
    const slots = await Promise.all(guestIds.map((guestId) => second.slots.get(guestId)));
    return slots.every((stored) => stored?.slot.released === true);
  }, "all slots to be released");
});

async function openCoordinator(t: TestContext, hosts: RefusingHosts) {
  const link = await nats.openLink(t);
  const leaving = new AbortController();
  const clock = openHostClock();
  const store = new NatsGuestRecordStore(link);
  const slots = new NatsSlotStore(link);
  const log = silent;
  const admission = new Admission({ slots, store, clock, log }, LIMITS, leaving.signal);
  const agents = hosts as unknown as AgentPort;
  const fencing = { fence: () => assert.fail("nobody is fenced") };
  const feed = new NatsPhaseFeed(link);
  const runner = new MigrationRunner({ store, agents, feed, fencing, admission, clock, log });
  await runner.resume();
  const known = {
    get: async (hostId: string) => HostRecord.create({ hostId }),
  };
  const random = Math.random;
  const api = new MigrationApi({
    store,
    hosts: known,
    agents,
    clock,
    random,
    runner,
    admission,
    draining: new DrainingHosts(),
    moveBudget: null,
  });
  const leave = () => {
    runner.close();
    leaving.abort("closed");
  };
  t.after(leave);
  return { api, link, store, slots, leave };
}
