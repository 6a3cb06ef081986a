import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { BareGuest } from "../lab/bare-ping-pong.ts";
import { prepareGuestImage } from "../lab/guest-image.ts";
import { LAB_GUEST } from "../lab/guest-init.ts";
import { type Lab, openLab } from "../lab/lab.ts";
import { type Probe, Prober } from "../lab/probe.ts";
import { findTwoWriters, writerStretches } from "../lab/witness/disk-witness.ts";
import { DEFAULT_BOUNDS, judgeRun } from "../lab/witness/invariants.ts";
import { skipWithout } from "../resource.ts";

const ADDRESS = "10.78.0.100";
const MAC = parseMacAddress("52:54:00:12:34:56", "mac");
const REACHABLE_TIMEOUT_MS = 10_000;

/** Each test migrates the guest that the test before left, so their order matters. */
describe("a guest migrated by QEMU alone", { skip: skipWithout("root", "qemu"), timeout: 120_000 }, () => {
  let lab: Lab;
  let guest: BareGuest;
  let probers: Prober[];

  before(async () => {
    lab = await openLab();
    guest = await BareGuest.boot(
      { lab, image: await prepareGuestImage(LAB_GUEST), mac: MAC, address: `${ADDRESS}/24` },
      "ha",
    );
    probers = await Promise.all(
      lab.topology.peers.map((peer) => Prober.start({ peer, target: ADDRESS, targetMac: MAC })),
    );
    await Promise.all(probers.map((prober) => prober.waitForReply(0, REACHABLE_TIMEOUT_MS)));
  });
  after(() => lab?.close());

  for (const [mode, from, to] of [
    ["live", "ha", "hb"],
    ["post-copy", "hb", "ha"],
  ] as const) {
    test(`lives on in ${mode} mode and answers both peers before and after`, async () => {
      const crossing = await guest.cross({ to, mode, probers, capture: "frames" });
      const { sourceStopAtUnixUs, destinationResumeAtUnixUs, stopToResumeMs } = crossing.migration;
      assert.equal(crossing.guest, "alive");
      assert.ok(stopToResumeMs > 0 && stopToResumeMs < 1000, `${stopToResumeMs} ms`);
      for (const { peer, probes } of crossing.probes) {
        const answered = (wanted: (probe: Probe) => boolean) =>
          probes.filter((probe) => probe.repliedAtUnixUs !== undefined && wanted(probe)).length;
        const before = answered(({ repliedAtUnixUs = 0 }) => repliedAtUnixUs < sourceStopAtUnixUs);
        const after = answered(({ sentAtUnixUs }) => sentAtUnixUs > destinationResumeAtUnixUs);
        assert.ok(before > 100 && after > 100, `${peer}: ${before} answered before, ${after} after`);
      }
      const stretches = writerStretches(crossing.record.disk).map(({ host }) => host);
      assert.deepEqual(stretches.slice(-2), [from, to]);
      assert.deepEqual(findTwoWriters(crossing.record.disk), []);
      assert.equal(judgeRun(crossing.record).find(({ invariant }) => invariant === "I4")?.result, "holds");
      const sentByGuest = crossing.frames.filter(({ sentBy }) => sentBy === "guest");
      assert.ok(sentByGuest.some(({ etherType }) => etherType === "Reverse ARP"));
      assert.deepEqual(
        sentByGuest.filter(({ atUnixUs }) => atUnixUs < destinationResumeAtUnixUs),
        [],
      );
    });
  }

  test("is lost to both peers after the switch when the destination's entry was added early", async () => {
    const crossing = await guest.cross({ to: "hb", mode: "live", destinationEntry: "early", probers });
    assert.equal(crossing.guest, "alive");
    // How long the entry holds is up to the guest's next frame across the fabric.
    assert.ok(crossing.figures.earlyUs > 0);
    for (const { peer, probes } of crossing.probes) {
      const after = probes.filter(
        ({ sentAtUnixUs }) => sentAtUnixUs > crossing.migration.destinationResumeAtUnixUs,
      );
      const lost = after.filter(({ repliedAtUnixUs }) => repliedAtUnixUs === undefined);
      assert.ok(lost.length > 0.9 * after.length, `${peer}: ${lost.length} of ${after.length} lost`);
    }
    // It may be gone within a deregistration's bound, too, and would then pass for one that was taken back.
    const atOnce = { ...DEFAULT_BOUNDS, startLeadUs: 0, deregistrationUs: 0 };
    const i3 = judgeRun(crossing.record, atOnce).find(({ invariant }) => invariant === "I3");
    assert.match(i3?.violations.join("\n") ?? "", /was registered on hb\/tap0 with its CPUs stopped/);
  });
});
