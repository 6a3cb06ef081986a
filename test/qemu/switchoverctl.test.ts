import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, it } from "node:test";
import {
  Migration,
  type MigrationSpec,
  Outcome,
  Phase,
  TransferParameters,
} from "../../proto/gen/switchover/v1/migration.ts";
import type { Cluster } from "../lab/managed/cluster.ts";
import type { ManagedGuest } from "../lab/managed/managed-guest.ts";
import { type ManagedLab, openManagedLab } from "../lab/managed/managed-lab.ts";
import { UNTIMED_BOUNDS } from "../lab/witness/invariants.ts";
import { skipWithout } from "../resource.ts";

const PROGRAM = join(import.meta.dirname, "..", "..", "services", "switchoverctl", "main.js");
const RUN_TIMEOUT_MS = 60_000;
const SLOW_BYTES_PER_SECOND = 4 * 1024 * 1024;
const NEVER = { trigger: { $case: "afterMs", value: 86_400_000 } } as const;

/** An operator's command in the lab's control namespace, which this process has joined. */
class Ctl {
  readonly lines: string[] = [];
  readonly exited: Promise<number | null>;
  readonly firstLine: Promise<string>;

  constructor({ coordinatorTarget, operatorFlags }: Cluster, ...args: readonly string[]) {
    const child = spawn(process.execPath, [PROGRAM, ...args, ...operatorFlags], {
      env: { ...process.env, SWITCHOVER_COORDINATOR: coordinatorTarget },
      stdio: ["ignore", "pipe", "inherit"],
      timeout: RUN_TIMEOUT_MS,
    });
    const output = createInterface({ input: child.stdout });
    output.on("line", (line) => this.lines.push(line));
    this.firstLine = once(output, "line").then(([line]) => String(line));
    this.exited = once(child, "close").then(([code]) => code as number | null);
  }
}

/** Each test migrates the guest that the test before left, so their order matters. */
describe("switchoverctl", { skip: skipWithout("root", "qemu", "natsServer"), timeout: 180_000 }, () => {
  let managed: ManagedLab;
  let guest: ManagedGuest;
  let cluster: Cluster;
  let migrationId = "";

  before(async () => {
    managed = await openManagedLab();
    guest = await managed.bootGuest("ha");
    cluster = managed.cluster;
  });
  after(() => managed?.close());

  it("migrates a guest and shows progress until it is done, as JSON", async () => {
    let ctl: Ctl | undefined;
    const start = async (requestId: string, spec: MigrationSpec) => {
      ctl = new Ctl(
        cluster,
        ...["migrate", "--guest", spec.guestId, "--from", spec.sourceHostId, "--to", spec.destinationHostId],
        ...["--mode", "post-copy", "--post-copy-after", "800", "--max-bandwidth", "30M"],
        ...["--request-id", requestId, "--wait", "--json"],
      );
      return Migration.fromJSON(JSON.parse(await ctl.firstLine));
    };
    const crossing = await guest.cross({ to: "hb", mode: "post-copy", start });
    assert.equal(crossing.guest, "alive");
    assert.equal(await ctl?.exited, 0);
    const states = (ctl?.lines ?? []).map((line) => Migration.fromJSON(JSON.parse(line)));
    assert.equal(states.at(-1)?.phase, Phase.COMPLETED);
    assert.ok(states.some(({ progress }) => (progress?.transferredBytes ?? 0n) > 0n));
    migrationId = crossing.migration.migrationId;
  });

  it("shows an ended migration as a timeline", async () => {
    const ctl = new Ctl(cluster, "show", migrationId);
    assert.equal(await ctl.exited, 0);
    const steps = ctl.lines.filter((line) => line.includes("|")).join("\n");
    assert.match(steps, /STOP.*deregistered.*handed off.*RESUME/s);
  });

  it("watches an ended migration to its end at once", async () => {
    const ctl = new Ctl(cluster, "watch", migrationId, "--json");
    assert.equal(await ctl.exited, 0);
    assert.equal(Migration.fromJSON(JSON.parse(ctl.lines.at(-1) ?? "{}")).phase, Phase.COMPLETED);
  });

  it("exits 1 for a migration that is refused, and the guest stays where it is", async () => {
    const ctl = new Ctl(cluster, ...["migrate", "--guest", "web", "--from", "hb", "--to", "ha", "--wait"]);
    assert.equal(await ctl.exited, 1);
    const beat = guest.current.lastHeartbeat()?.seq ?? 0;
    await guest.current.waitForHeartbeatAfter(beat, 5_000);
  });

  it("pauses a post-copy transfer, shows that it waits, and recovers it", async () => {
    const crossing = await guest.cross({
      to: "ha",
      mode: "post-copy",
      maxPostCopyBandwidth: SLOW_BYTES_PER_SECOND,
      bounds: UNTIMED_BOUNDS,
      whileRunning: async ({ migrationId: id }) => {
        await managed.observer.waitForPhase(id, Phase.POST_COPY, RUN_TIMEOUT_MS);
        assert.equal(await new Ctl(cluster, "pause", id, "--wait").exited, 0);
        const waiting = new Ctl(cluster, "show", id, "--json");
        assert.equal(await waiting.exited, 0);
        const paused = Migration.fromJSON(JSON.parse(waiting.lines[0] ?? "{}"));
        assert.equal(paused.reasonCode, "PAUSED_BY_CALLER");
        assert.equal(await new Ctl(cluster, "cancel", id).exited, 1);
        assert.equal(await new Ctl(cluster, "recover", id).exited, 0);
      },
    });
    assert.equal(crossing.guest, "alive");
    assert.equal(crossing.migration.outcome, Outcome.RUNS_ON_DESTINATION);
    const phases = crossing.migration.phases.map(({ phase }) => phase);
    assert.ok(phases.includes(Phase.POST_COPY_PAUSED) && phases.includes(Phase.COMPLETED));
  });

  it("cancels a migration in time, and the guest runs on where it was", async () => {
    const before = guest.current;
    const crossing = await guest.cross({
      to: "hb",
      mode: "post-copy",
      bounds: UNTIMED_BOUNDS,
      start: (requestId, spec) =>
        managed.controlPlane.startMigration(requestId, {
          ...spec,
          postCopy: NEVER,
          transfer: TransferParameters.fromPartial({
            ...spec.transfer,
            maxBandwidthBytesPerSecond: BigInt(SLOW_BYTES_PER_SECOND),
          }),
        }),
      whileRunning: async ({ migrationId: id }) => {
        await managed.observer.waitForPhase(id, Phase.TRANSFERRING, RUN_TIMEOUT_MS);
        assert.equal(await new Ctl(cluster, "cancel", id, "--wait").exited, 0);
      },
    });
    assert.equal(crossing.migration.phase, Phase.CANCELLED);
    assert.equal(crossing.migration.outcome, Outcome.RUNS_ON_SOURCE);
    assert.equal(guest.current, before);
    await before.waitForHeartbeatAfter(before.lastHeartbeat()?.seq ?? 0, 5_000);
  });
});
