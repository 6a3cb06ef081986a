import assert from "node:assert/strict";
import { test } from "node:test";
import type { StoredDrain } from "../../coordinator/drain/drain-store.ts";
import { DrainPhase, DrainRecord } from "../../proto/gen/switchover/v1/drain.ts";
import type { HostId } from "../../proto/ids.ts";
import { NatsDrainStore } from "../../services/nats/drain-store.ts";
import { natsBench, newGuest, until } from "./nats-bench.ts";

const nats = natsBench();

const recordOf = (hostId: string, revision: bigint): DrainRecord =>
  DrainRecord.fromPartial({
    hostId,
    revision,
    drain: { drainId: `${hostId}-000000000000`, phase: DrainPhase.DRAINING, guests: [{ guestId: "web-7" }] },
  });

test("a drain is created, read, changed by compare-and-set, and watched", async (t) => {
  const drains = new NatsDrainStore(await nats.openLink(t));
  const hostId = newGuest() as string as HostId;
  assert.equal(await drains.get(hostId), null);
  const begun = await drains.write(recordOf(hostId, 1n), 0);
  assert.deepEqual(await drains.get(hostId), begun);
  await assert.rejects(drains.write(recordOf(hostId, 2n), 0), {
    code: "ABORTED",
    reason: "REVISION_CONFLICT",
  });
  const ending = new AbortController();
  const seen: StoredDrain[] = [];
  const watching = (async () => {
    for await (const stored of drains.watch(ending.signal)) {
      if (stored.record.hostId === hostId) seen.push(stored);
    }
  })();
  await until(() => seen.length === 1, "the first state");
  const changed = await drains.write(recordOf(hostId, 2n), begun.revision);
  await until(() => seen.length === 2, "the second state");
  assert.deepEqual(seen, [begun, changed]);
  ending.abort();
  await watching;
});
