import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { CoordinatorProcess } from "../fleet/coordinator-process.ts";
import { FleetMember } from "../fleet/fleet-member.ts";
import type { PreparedGuest } from "../fleet/fleet-message.ts";
import { findFreePorts } from "../fleet/free-ports.ts";
import type { NatsBench } from "./nats-bench.ts";

/** A coordinator's program on the bench's server, which answers. */
export async function startCoordinator(t: TestContext, nats: NatsBench): Promise<CoordinatorProcess> {
  const natsUrl = nats.server.url;
  const folder = nats.newFolder("coordinator");
  const coordinator = new CoordinatorProcess({ coordinatorId: "one", natsUrl, natsReplicas: 1, folder });
  coordinator.start();
  t.after(async () => {
    await coordinator.end();
    coordinator.close();
  });
  await coordinator.whenReady();
  return coordinator;
}

/** Real agents on two pretended hosts, and guests that may go from one to the other. */
export async function bootGuests(
  t: TestContext,
  nats: NatsBench,
  guestIds: readonly string[],
): Promise<readonly PreparedGuest[]> {
  const [port = 0] = await findFreePorts(1);
  const times = { copyMs: [200, 200], pagesMs: 200 } as const;
  const natsUrl = nats.server.url;
  const member = await FleetMember.start({ natsUrl, member: 3, hosts: 2, port, seed: 1, ...times });
  t.after(() => member.close());
  const guests = (await member.answer({ t: "prepare", guestIds })) as readonly PreparedGuest[];
  assert.equal(guests.length, guestIds.length);
  return guests;
}
