import assert from "node:assert/strict";
import { rename } from "node:fs/promises";
import { after, before, describe, it } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import { HostAgentServiceService } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { MigrationServiceService as methods } from "../../proto/gen/switchover/v1/migration_service.ts";
import { openChannel } from "../../services/grpc/channel.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import { closeSecurity } from "../../services/tls/tls-settings.ts";
import { migrationFolder } from "../lab/managed/cluster.ts";
import type { ManagedGuest } from "../lab/managed/managed-guest.ts";
import { GUEST_ID, type ManagedLab, openManagedLab } from "../lab/managed/managed-lab.ts";
import { reportOf } from "../lab/managed/migration-report.ts";
import type { Prober } from "../lab/probe.ts";
import { UNTIMED_BOUNDS } from "../lab/witness/invariants.ts";
import { skipWithout } from "../resource.ts";

/** Pages flow for seconds after the switch. */
const SLOW_BYTES_PER_SECOND = 4 * 1024 * 1024;
const PHASE_TIMEOUT_MS = 60_000;
const CALL_TIMEOUT_MS = 10_000;

/** Each test migrates the guest that the test before left, so their order matters. */
describe("with certificates everywhere", {
  skip: skipWithout("root", "qemu", "natsServer"),
  timeout: 240_000,
}, () => {
  let managed: ManagedLab;
  let guest: ManagedGuest;
  let probers: readonly Prober[];

  before(async () => {
    managed = await openManagedLab({ migrationStream: "tls" });
    guest = await managed.bootGuest("ha");
    probers = await managed.startProbers();
  });
  after(() => managed?.close());

  for (const [mode, to] of [
    ["live", "hb"],
    ["post-copy", "ha"],
    ["live", "hb"],
  ] as const) {
    it(`a guest moves to ${to}, ${mode}, and keeps every invariant`, async () => {
      const from = guest.current.host;
      const crossing = await guest.cross({ to, mode, probers, bounds: UNTIMED_BOUNDS });
      const report = reportOf(mode, from, to, crossing);
      assert.equal(`${report.phase} ${report.guest_alive}`, "COMPLETED true", crossing.migration.reason);
      assert.deepEqual([report.duplicate_us, report.early_us, report.violations], [0, 0, []]);
    });
  }

  it("a post-copy transfer that is paused is recovered over TLS", async () => {
    const crossing = await guest.cross({
      to: "ha",
      mode: "post-copy",
      maxPostCopyBandwidth: SLOW_BYTES_PER_SECOND,
      bounds: UNTIMED_BOUNDS,
      whileRunning: async ({ migrationId }) => {
        const ask = (method: typeof methods.pauseMigration | typeof methods.recoverMigration) =>
          callUnary(managed.cluster.migrations, method, { migrationId }, { timeoutMs: CALL_TIMEOUT_MS });
        await managed.observer.waitForPhase(migrationId, Phase.POST_COPY, PHASE_TIMEOUT_MS);
        await ask(methods.pauseMigration);
        await managed.observer.waitForPhase(migrationId, Phase.POST_COPY_PAUSED, PHASE_TIMEOUT_MS);
        await ask(methods.recoverMigration);
      },
    });
    assert.equal(crossing.guest, "alive");
    assert.equal(crossing.migration.outcome, Outcome.RUNS_ON_DESTINATION);
  });

  it("a destination whose QEMU has no certificate refuses the guest, which runs on where it was", async () => {
    const folder = migrationFolder(managed.lab, "hb");
    await rename(folder, `${folder}.away`);
    const crossing = await guest.cross({ to: "hb", mode: "live", bounds: UNTIMED_BOUNDS });
    await rename(`${folder}.away`, folder);
    assert.equal(crossing.migration.phase, Phase.FAILED);
    assert.equal(crossing.migration.outcome, Outcome.RUNS_ON_SOURCE);
    assert.match(crossing.migration.reason, /ca-cert\.pem/);
    assert.equal(guest.current.host, "ha");
    await guest.current.waitForHeartbeatAfter(guest.current.lastHeartbeat()?.seq ?? 0, 5_000);
  });

  it("an agent arms for coordinators alone: not for another host's agent, nor for the control plane", async () => {
    const { pki } = managed.cluster;
    const { controlAddress } = managed.lab.topology.host("hb");
    const armSource = { migrationId: `${GUEST_ID}-mk3v0q8ya1z9`, guestId: GUEST_ID, instanceId: "" };
    for (const [role, name] of [
      ["agent", "ha"],
      ["control-plane", "lab"],
      ["observer", "dash"],
    ] as const) {
      const security = await pki.security(role, name);
      const peer = { roles: ["agent"], name: "hb" } as const;
      const channel = openChannel(`${controlAddress}:7443`, { retriedServices: [], security, peer });
      try {
        const request = HostAgentServiceService.armSource.requestDeserialize(Buffer.alloc(0));
        await callUnary(
          channel,
          HostAgentServiceService.armSource,
          { ...request, ...armSource },
          { timeoutMs: 5_000 },
        );
        assert.fail(`${role} was let in`);
      } catch (thrown) {
        const { code, reason } = SwitchoverError.from(thrown);
        assert.deepEqual([code, reason], ["PERMISSION_DENIED", "ROLE_MAY_NOT"], role);
      } finally {
        channel.close();
        closeSecurity(security);
      }
    }
  });
});
