import assert from "node:assert/strict";
import { test } from "node:test";
import type { StoredSlot } from "../../coordinator/admission/slot-store.ts";
import { AdmissionSlot } from "../../proto/gen/switchover/v1/admission.ts";
import { NatsSlotStore } from "../../services/nats/slot-store.ts";
import { natsBench, newGuest, until } from "./nats-bench.ts";

const nats = natsBench();

const slotOf = (guestId: string, released = false): AdmissionSlot =>
  AdmissionSlot.fromPartial({ guestId, migrationId: `${guestId}-000000000000`, epoch: 2n ** 63n, released });

test("a slot is written by compare-and-set, and its revision orders it among all", async (t) => {
  const slots = new NatsSlotStore(await nats.openLink(t));
  const [first, second] = [newGuest(), newGuest()];
  assert.equal(await slots.get(first), null);
  const taken = await slots.write(slotOf(first), 0);
  assert.deepEqual(await slots.get(first), taken);
  const later = await slots.write(slotOf(second), 0);
  assert.ok(later.revision > taken.revision);
  await assert.rejects(slots.write(slotOf(first), 0), { code: "ABORTED", reason: "REVISION_CONFLICT" });
  await assert.rejects(slots.write(slotOf(first), later.revision), { reason: "REVISION_CONFLICT" });
  const released = await slots.write(slotOf(first, true), taken.revision);
  assert.ok(released.revision > later.revision);
});

test("a watch brings slots in the order of revisions and says when all that stood were brought", async (t) => {
  const link = await nats.openLink(t);
  const slots = new NatsSlotStore(link);
  const guests = [newGuest(), newGuest(), newGuest()];
  for (const guestId of guests) await slots.write(slotOf(guestId), 0);
  const ending = new AbortController();
  const seen: StoredSlot[] = [];
  let seenWhenCurrent = -1;
  const watching = (async () => {
    const onCurrent = () => {
      if (seenWhenCurrent < 0) seenWhenCurrent = seen.length;
    };
    for await (const stored of slots.watch(ending.signal, onCurrent)) seen.push(stored);
  })();
  const ours = () => seen.filter(({ slot }) => guests.some((guestId) => guestId === slot.guestId));
  await until(() => ours().length === 3 && seenWhenCurrent >= 0, "all that stood");
  assert.ok(seenWhenCurrent >= 3);
  await slots.write(slotOf(guests[0] ?? "", true), ours()[0]?.revision ?? 0);
  await until(() => ours().length === 4, "the release");
  const revisions = seen.map(({ revision }) => revision);
  assert.deepEqual(
    revisions,
    [...revisions].sort((left, right) => left - right),
  );
  ending.abort();
  await watching;
});
