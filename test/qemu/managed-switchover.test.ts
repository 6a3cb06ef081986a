import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { type Announced, AnnouncementsEndedBy } from "../../proto/gen/switchover/v1/feed.ts";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { Registration } from "../../proto/gen/switchover/v1/nic.ts";
import { pollUntil } from "../lab/deadline.ts";
import type { ManagedGuest } from "../lab/managed/managed-guest.ts";
import {
  GUEST_ID,
  GUEST_MAC,
  GUEST_TAP,
  type ManagedLab,
  openManagedLab,
} from "../lab/managed/managed-lab.ts";
import type { Prober } from "../lab/probe.ts";
import { unixMicros } from "../lab/realtime-clock.ts";
import { UNTIMED_BOUNDS, type WitnessedRun } from "../lab/witness/invariants.ts";
import { TapCapture } from "../lab/witness/tap-capture.ts";
import { skipWithout } from "../resource.ts";

/** Pages flow for seconds after the switch. */
const SLOW_BYTES_PER_SECOND = 4 * 1024 * 1024;
const REACHABLE_TIMEOUT_MS = 10_000;
/** What one peer may hear the guest later than the other on a busy machine; with a stale entry it is seconds. */
const PEERS_APART_MS = 500;

/** Each test migrates the guest that the test before left, so their order matters. */
describe("a switchover", { skip: skipWithout("root", "qemu", "natsServer"), timeout: 180_000 }, () => {
  let managed: ManagedLab;
  let guest: ManagedGuest;
  let probers: readonly Prober[];

  before(async () => {
    managed = await openManagedLab();
    guest = await managed.bootGuest("ha");
    probers = await managed.startProbers();
    await Promise.all(probers.map((prober) => prober.waitForReply(0, REACHABLE_TIMEOUT_MS)));
  });
  after(() => managed?.close());

  for (const [mode, to] of [
    ["live", "hb"],
    ["post-copy", "ha"],
  ] as const) {
    it(`lets no frame leave the destination's tap before the CPUs run, ${mode}`, async () => {
      let capture: TapCapture | undefined;
      const { namespace } = managed.lab.topology.host(to);
      const crossing = await guest.cross({
        to,
        mode,
        probers,
        beforeStart: async () => {
          capture = await TapCapture.start(namespace, GUEST_TAP);
        },
      });
      const frames = (await capture?.close()) ?? [];
      const resumedAtUnixUs = eventAt(crossing.record, guest.current.instance, "RESUME");
      const fromGuest = frames.filter(({ sentBy }) => sentBy === "guest");
      assert.ok(
        fromGuest.some(({ etherType }) => etherType === "Reverse ARP"),
        "the guest was announced",
      );
      assert.deepEqual(
        fromGuest.filter(({ atUnixUs }) => atUnixUs < resumedAtUnixUs),
        [],
      );
      assert.deepEqual(
        frames.filter(({ sentBy, source }) => sentBy === "host" && source === GUEST_MAC),
        [],
        "the guest hears no announcement of its own addresses",
      );
      const announced = await announcementsOf(managed, crossing.migration.migrationId);
      assert.ok(
        announced.some(({ frames }) => (frames?.arp ?? 0) > 0),
        "its address was announced by the agent, too",
      );
      assert.equal(announced.at(-1)?.endedBy, AnnouncementsEndedBy.EVIDENCE, "the guest answers its peers");
    });
  }

  it("in a slow post-copy serves the peers on the source host as soon as those on the destination's", async () => {
    const replies: number[] = [];
    const crossing = await guest.cross({
      to: "hb",
      mode: "post-copy",
      maxPostCopyBandwidth: SLOW_BYTES_PER_SECOND,
      bounds: UNTIMED_BOUNDS,
      probers,
      whileRunning: async ({ migrationId }) => {
        await managed.observer.waitForPhase(migrationId, Phase.POST_COPY, REACHABLE_TIMEOUT_MS);
        const switched = unixMicros();
        const heard = await Promise.all(
          probers.map((prober) => prober.waitForReply(switched, REACHABLE_TIMEOUT_MS)),
        );
        replies.push(...heard.map(({ repliedAtUnixUs }) => repliedAtUnixUs ?? Number.POSITIVE_INFINITY));
        const atSource = await managed.lab.topology
          .host("ha")
          .namespace.run("bridge", ["fdb", "show", "br", "br0"]);
        assert.ok(!entriesOf(atSource, GUEST_MAC).some((line) => line.includes(GUEST_TAP)), atSource);
      },
    });
    assert.equal(crossing.guest, "alive");
    assert.deepEqual(
      crossing.verdicts.flatMap(({ violations }) => violations),
      [],
    );
    const resumedAtUnixUs = eventAt(crossing.record, guest.current.instance, "RESUME");
    const completedAtUnixUs = statusAt(crossing.record, guest.current.instance, "completed");
    assert.ok(
      completedAtUnixUs - resumedAtUnixUs > 1_000_000,
      "pages flowed for more than a second after RESUME",
    );
    const apartMs = Math.abs((replies[0] ?? 0) - (replies[1] ?? 0)) / 1000;
    assert.ok(apartMs < PEERS_APART_MS, `${apartMs} ms apart`);
    for (const replyAtUnixUs of replies)
      assert.ok(replyAtUnixUs < completedAtUnixUs, "while pages still flowed");
  });

  it("leaves a paused guest paused and unregistered until it is started", async () => {
    const { controlPlane } = managed;
    await controlPlane.stopCpus("hb", GUEST_ID);
    const crossing = await guest.cross({ to: "ha", mode: "live", guest: "paused" });
    assert.equal(crossing.migration.phase, Phase.COMPLETED);
    assert.equal(crossing.migration.outcome, Outcome.PAUSED_ON_DESTINATION);
    const [paused] = await controlPlane.instances("ha", GUEST_ID);
    assert.equal(paused?.cpuState, CpuState.STOPPED);
    assert.equal(paused?.registration, Registration.QUARANTINED);
    const { namespace } = managed.lab.topology.host("ha");
    const before = await namespace.run("bridge", ["fdb", "show", "br", "br0"]);
    assert.ok(!entriesOf(before, GUEST_MAC).some((line) => line.includes("static")), before);

    const lastBeat = guest.current.lastHeartbeat()?.seq ?? 0;
    await controlPlane.startCpus("ha", GUEST_ID);
    const registered = await namespace.run("bridge", ["fdb", "show", "br", "br0"]);
    assert.ok(
      entriesOf(registered, GUEST_MAC).some(
        (line) => line.includes(GUEST_TAP) && /sticky.*static/.test(line),
      ),
      registered,
    );
    await guest.current.waitForHeartbeatAfter(lastBeat, REACHABLE_TIMEOUT_MS);
    const started = unixMicros();
    await Promise.all(probers.map((prober) => prober.waitForReply(started, REACHABLE_TIMEOUT_MS)));
  });
});

/** All rounds up to the last one. */
function announcementsOf({ observer }: ManagedLab, migrationId: string): Promise<readonly Announced[]> {
  const rounds = (): readonly Announced[] =>
    observer
      .about(migrationId)
      .flatMap(({ event: { event } }) => (event?.$case === "announced" ? [event.value] : []));
  const ended = () => (rounds().at(-1)?.endedBy === undefined ? undefined : rounds());
  return pollUntil(ended, REACHABLE_TIMEOUT_MS, "The end of the announcements");
}

function entriesOf(fdb: string, mac: string): readonly string[] {
  return fdb.split("\n").filter((line) => line.startsWith(mac));
}

/** When the witness saw the instance's first event of that name. */
function eventAt(record: WitnessedRun, instance: string, name: string): number {
  const found = record.qmp.find(
    ({ fact, instance: of }) => of === instance && fact.kind === "event" && fact.name === name,
  );
  assert.ok(found, `${instance} had no ${name}`);
  return found.atUnixUs;
}

function statusAt(record: WitnessedRun, instance: string, status: string): number {
  const found = record.qmp.find(
    ({ fact, instance: of }) =>
      of === instance && fact.kind === "event" && fact.name === "MIGRATION" && fact.data.status === status,
  );
  assert.ok(found, `${instance} never was ${status}`);
  return found.atUnixUs;
}
