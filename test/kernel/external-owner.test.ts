/** A guest whose VMMs no agent drives goes through whole migrations by RPC alone, on real kernels. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { CpuState, VmmDemand } from "../../proto/gen/switchover/v1/guest.ts";
import { MigrationMode, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { skipWithout } from "../resource.ts";
import { deviceNames } from "./host-state.ts";
import { type OwnedHost, type OwnedHosts, withOwnedHosts } from "./owned-hosts.ts";

const ENTRY = "web0 br0 static sticky";
const options = { skip: skipWithout("root"), timeout: 60_000 };

/** Nothing registers the guest on both hosts, or on the one where it does not run. */
function assertEntries(hosts: OwnedHosts, where: OwnedHost | null, when: string): void {
  for (const host of [hosts.ha, hosts.hb]) {
    assert.equal(host.fdb(), host === where ? ENTRY : "", `${host.name}, ${when}`);
  }
}

async function boot(host: OwnedHost, instanceId: string): Promise<void> {
  await host.adopt(instanceId, CpuState.STOPPED, "prelaunch");
  await host.startCpus();
  assert.equal(host.fdb(), ENTRY);
  await host.running();
}

/** Both owners' part of a migration, up to a destination that has loaded the guest and a source that has stopped it. */
async function beginLive(hosts: OwnedHosts, source: OwnedHost, destination: OwnedHost): Promise<void> {
  await source.demanded(VmmDemand.BEGIN_TRANSFER);
  await source.running({ transferStatus: "active" });
  await destination.stopped({ transferStatus: "active" });
  assertEntries(hosts, source, "while the memory moves");
  await source.stopped({ runState: "finish-migrate" });
  assertEntries(hosts, null, "once the stop is answered");
}

async function migrateLive(hosts: OwnedHosts, source: OwnedHost, destination: OwnedHost): Promise<void> {
  await hosts.migrate(source, destination, MigrationMode.LIVE);
  await beginLive(hosts, source, destination);
  const permitted = destination.startCpus();
  await destination.stopped({ runState: "paused", transferStatus: "completed" });
  assertEntries(hosts, null, "before the source's word");
  await source.stopped({ transferStatus: "completed" });
  await permitted;
  assertEntries(hosts, destination, "before the CPUs start");
  await destination.running();
}

async function migratePostCopy(hosts: OwnedHosts, source: OwnedHost, destination: OwnedHost): Promise<void> {
  await hosts.migrate(source, destination, MigrationMode.POST_COPY);
  await source.demanded(VmmDemand.BEGIN_TRANSFER);
  await source.running({ transferStatus: "active" });
  await source.demanded(VmmDemand.SWITCH_TO_POST_COPY);
  const permitted = destination.startCpus();
  await source.stopped({ runState: "finish-migrate" });
  assertEntries(hosts, null, "once the stop is answered");
  await destination.stopped({ transferStatus: "postcopy-active" });
  await source.stopped({ transferStatus: "postcopy-active" });
  assertEntries(hosts, null, "while the destination loads");
  await destination.stopped({ runState: "paused" });
  await permitted;
  assertEntries(hosts, destination, "before the CPUs start");
  await destination.running();
  assertEntries(hosts, destination, "while the pages flow");
  await source.stopped({ transferStatus: "completed" });
  await destination.running({ transferStatus: "completed" });
}

describe("a guest whose owner drives its VMMs", options, () => {
  it("is moved live, and back in post-copy, and never registered on two hosts", () =>
    withOwnedHosts(async (hosts) => {
      const { ha, hb } = hosts;
      await boot(ha, "a1");
      await hb.adopt("b1", CpuState.STOPPED, "inmigrate");
      await migrateLive(hosts, ha, hb);
      const there = await hosts.ended();
      assert.deepEqual([there.phase, there.outcome], [Phase.COMPLETED, Outcome.RUNS_ON_DESTINATION]);
      await ha.stopped({ runState: "gone" });
      assert.equal(ha.within(deviceNames), "br0 lo");

      await ha.adopt("a2", CpuState.STOPPED, "inmigrate");
      await migratePostCopy(hosts, hb, ha);
      const back = await hosts.ended();
      assert.deepEqual([back.phase, back.outcome], [Phase.COMPLETED, Outcome.RUNS_ON_DESTINATION]);
      await hb.stopped({ runState: "gone" });
      assert.equal(hb.within(deviceNames), "br0 lo");
      assertEntries(hosts, ha, "at the end");
    }));

  it("stays where it was when it is cancelled after its stop", () =>
    withOwnedHosts(async (hosts) => {
      const { ha, hb } = hosts;
      await boot(ha, "a1");
      await hb.adopt("b1", CpuState.STOPPED, "inmigrate");
      await hosts.migrate(ha, hb, MigrationMode.LIVE);
      await beginLive(hosts, ha, hb);
      await hosts.cancel();
      await ha.demanded(VmmDemand.CANCEL_TRANSFER);
      await ha.stopped({ transferStatus: "cancelled" });
      await hb.demanded(VmmDemand.END_VMM);
      await hb.stopped({ runState: "gone" });
      await ha.demanded(VmmDemand.START_CPUS);
      assertEntries(hosts, ha, "before the CPUs go on");
      await ha.running();
      const { outcome } = await hosts.ended();
      assert.equal(outcome, Outcome.RUNS_ON_SOURCE);
      assert.equal(hb.within(deviceNames), "br0 lo");
    }));

  it("goes back to its source where the destination's VMM does not start it", () =>
    withOwnedHosts(async (hosts) => {
      const { ha, hb } = hosts;
      await boot(ha, "a1");
      await hb.adopt("b1", CpuState.STOPPED, "inmigrate");
      await hosts.migrate(ha, hb, MigrationMode.LIVE);
      await beginLive(hosts, ha, hb);
      await ha.stopped({ transferStatus: "completed" });
      await hb.stopped({ transferStatus: "completed" });
      await hb.demanded(VmmDemand.START_CPUS);
      await hb.stopped({ startRefusal: "The disk is locked." });
      assertEntries(hosts, null, "once the start was refused");
      await ha.demanded(VmmDemand.START_CPUS);
      assertEntries(hosts, ha, "before the CPUs go on");
      await ha.running();
      await hb.demanded(VmmDemand.END_VMM);
      await hb.stopped({ runState: "gone" });
      const { phase, outcome } = await hosts.ended();
      assert.deepEqual([phase, outcome], [Phase.FAILED, Outcome.RUNS_ON_SOURCE]);
      assertEntries(hosts, ha, "at the end");
    }));
});
