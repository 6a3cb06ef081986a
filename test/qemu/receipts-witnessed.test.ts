/**
 * What receipts and metrics say of real migrations, against witnesses that share no code with Switchover: connections of
 * their own to both QEMUs, whose events carry QEMU's own stamps, and the kernel's monitors on both hosts.
 *
 * Where QEMU stamps both ends, each window has to agree within 200 us. A monitor stamps a change when it gets to run, and so
 * does an agent, not when the kernel made it: a CPU that others hold puts either off by milliseconds, now and then; what is
 * made wrongly is apart every time. There two of five migrations have to agree. How late the monitor was is measured all the
 * time, by changes whose time is known.
 */
import assert from "node:assert/strict";
import { after, before, describe, it, type TestContext } from "node:test";
import {
  InstantKind,
  type MigrationMode as Mode,
  migrationModeToJSON,
} from "../../proto/gen/switchover/v1/migration.ts";
import { type Receipt, SpanKind } from "../../proto/gen/switchover/v1/receipt.ts";
import { percentilesOf } from "../bench/percentiles.ts";
import type { MigrationMode } from "../lab/bare-migration.ts";
import { pollUntil } from "../lab/deadline.ts";
import type { ManagedCrossing } from "../lab/managed/managed-guest.ts";
import { GUEST_MAC, GUEST_TAP } from "../lab/managed/managed-lab.ts";
import { wiringOf } from "../lab/managed/wiring.ts";
import { FdbLateness } from "../lab/witness/fdb-lateness.ts";
import { UNTIMED_BOUNDS } from "../lab/witness/invariants.ts";
import { TapCapture } from "../lab/witness/tap-capture.ts";
import { placesOf, registeredIntervals } from "../lab/witness/timeline.ts";
import { skipWithout } from "../resource.ts";
import { sampleValue, scrape } from "../unit/scrape.ts";
import { SparedGuests, type SparedLab } from "./spared-guests.ts";

const WITHIN_US = 200;
const CROSSINGS = 5;
const SOME = 2;
const WATCH_AFTER_MS = 200;
const METRICS_PORT = 9464;
const METERED_WITHIN_MS = 5_000;

/** One migration's windows as one side has them. Microseconds. */
interface Windows {
  readonly blackoutUs: number;
  readonly stopToDeregisteredUs: number;
  readonly blackHoleUs: number;
  readonly duplicateUs: number;
}

interface Compared {
  readonly receipt: Windows;
  readonly metrics: Omit<Windows, "stopToDeregisteredUs">;
  readonly witness: Windows;
  readonly latenessUs: readonly number[];
}

describe("receipts and metrics of a guest on taps", {
  skip: skipWithout("root", "qemu", "natsServer"),
  timeout: 400_000,
}, () => {
  let spared: SparedGuests;
  before(async () => {
    spared = await SparedGuests.boot(["ha"], {
      coordinatorFlags: ["--metrics-listen", `0.0.0.0:${METRICS_PORT}`],
    });
  });
  after(() => spared?.close());

  for (const mode of ["live", "post-copy"] as const) {
    it(`have the windows that witnesses saw, within ${WITHIN_US} us, in ${mode} mode`, async (context) => {
      const compared: Compared[] = [];
      for (let index = 0; index < CROSSINGS; index += 1) {
        compared.push(await spared.step(context, (lab) => crossTaps(lab, mode)));
      }
      const lateness = percentilesOf(compared.flatMap(({ latenessUs }) => latenessUs));
      context.diagnostic(`${mode}: the witness was late by ${JSON.stringify(lateness)} us`);
      for (const of of ["receipt", "metrics"] as const) {
        // QEMU's own stamps on both sides: no lateness explains anything.
        assertAgree(
          context,
          `${mode} ${of} blackout`,
          compared,
          (one) => [one[of].blackoutUs, one.witness.blackoutUs],
          "each",
        );
        assertAgree(
          context,
          `${mode} ${of} black hole`,
          compared,
          (one) => [one[of].blackHoleUs, one.witness.blackHoleUs],
          "some",
        );
      }
      const behindUs = compared.map(({ receipt, witness }) =>
        Math.round(receipt.stopToDeregisteredUs - witness.stopToDeregisteredUs),
      );
      context.diagnostic(`${mode} deregistered, told after it was seen: ${behindUs.join(", ")} us`);
      // The word is of all that a stop does, acknowledged; the witness sees the entry go, which is the first of it.
      assert.ok(Math.min(...behindUs) >= -WITHIN_US, "an agent says that a MAC is gone before it is");
      for (const { receipt, metrics, witness } of compared) {
        assert.deepEqual([receipt.duplicateUs, metrics.duplicateUs, witness.duplicateUs], [0, 0, 0]);
      }
    });
  }

  it("have a first frame that a capture on the guest's tap saw leave the guest", async (context) => {
    await spared.step(context, async ({ managed, guests: [guest] }) => {
      assert.ok(guest);
      const probers = await managed.startProbers();
      await Promise.all(probers.map((prober) => prober.waitForReply(0, 10_000)));
      const to = guest.current.host === "ha" ? "hb" : "ha";
      let capture: TapCapture | undefined;
      const { migration } = await guest.cross({
        to,
        mode: "live",
        bounds: UNTIMED_BOUNDS,
        beforeStart: async () => {
          capture = await TapCapture.start(managed.lab.topology.host(to).namespace, GUEST_TAP);
        },
      });
      await Promise.all(probers.map((prober) => prober.close()));
      const frames = ((await capture?.close()) ?? []).filter(
        ({ sentBy, etherType }) => sentBy === "guest" && etherType !== "Reverse ARP",
      );
      const receipt = await managed.controlPlane.receipt(migration.migrationId);
      const [first, ...more] = receipt.instants.filter(({ kind }) => kind === InstantKind.FIRST_FRAME);
      assert.ok(first, "the guest answers its peers, so that a frame was seen");
      assert.equal(more.length, 0);
      assert.equal(first.nicId, receipt.nics[0]?.nic?.nicId);
      const apartUs = frames.map(({ atUnixUs }) => Math.abs(atUnixUs - Number(first.atUnixUs)));
      const [nearest = Number.POSITIVE_INFINITY] = apartUs.sort((left, right) => left - right);
      const earlier = frames.filter(({ atUnixUs }) => atUnixUs < Number(first.atUnixUs) - WITHIN_US).length;
      context.diagnostic(`${nearest} us from a captured frame, after ${earlier} that left before`);
      assert.ok(nearest <= WITHIN_US, `${nearest} us from the nearest frame that left the guest`);
    });
  });

  it("say who asked, that one machine's clocks agree, and the NIC on both hosts", async (context) => {
    await spared.step(context, async ({ managed, guests: [guest] }) => {
      assert.ok(guest);
      const to = guest.current.host === "ha" ? "hb" : "ha";
      const { migration } = await guest.cross({ to, mode: "live", bounds: UNTIMED_BOUNDS });
      const receipt = await managed.controlPlane.receipt(migration.migrationId);
      const { clockOffset, requestedBy, nics } = receipt;
      assert.ok(clockOffset);
      const { destinationAheadUs, errorUs } = clockOffset;
      context.diagnostic(`The clocks are apart by ${destinationAheadUs} us, +-${errorUs} us.`);
      assert.ok((destinationAheadUs < 0n ? -destinationAheadUs : destinationAheadUs) <= errorUs);
      assert.equal(receipt.destinationMovedByUs, 0n);
      assert.match(requestedBy?.peer ?? "", /^ipv4:[\d.]+:\d+$/);
      assert.match(requestedBy?.userAgent ?? "", /grpc-node-js/);
      assert.match(requestedBy?.identity ?? "", /^spiffe:\/\/[^/]+\/control-plane\/[^/]+$/);
      assert.deepEqual(
        nics.map(({ nic }) => [nic?.macAddress, nic?.sourceDevice, nic?.destinationDevice]),
        [[GUEST_MAC, "tap_on_bridge", "tap_on_bridge"]],
      );
      const rounds = receipt.instants.filter(({ kind }) => kind === InstantKind.ANNOUNCED);
      assert.deepEqual(
        rounds.map(({ round }) => round),
        rounds.map((_, index) => index + 1),
      );
      for (const { acrossClocks, errorUs: spanErrorUs } of receipt.spans) {
        assert.equal(spanErrorUs !== undefined, acrossClocks);
      }
    });
  });
});

describe("receipts of a guest on a macvtap", {
  skip: skipWithout("root", "qemu", "natsServer"),
  timeout: 200_000,
}, () => {
  let spared: SparedGuests;
  before(async () => {
    spared = await SparedGuests.boot(["ha"], { wiring: "macvtap-bridge" });
  });
  after(() => spared?.close());

  for (const mode of ["live", "post-copy"] as const) {
    it(`have the blackout that QEMUs tell a witness, and no time on both hosts, in ${mode} mode`, async (context) => {
      await spared.step(context, async (lab) => {
        const { crossing, receipt } = await cross(lab, mode);
        const differenceUs = spanUs(receipt, SpanKind.BLACKOUT) - witnessed(crossing).blackoutUs;
        assert.ok(Math.abs(differenceUs) <= WITHIN_US, `apart by ${differenceUs} us`);
        assert.equal(spanUs(receipt, SpanKind.DUPLICATE), 0);
        assert.equal(crossing.figures.duplicateUs, 0);
        const { nics } = wiringOf("macvtap-bridge", GUEST_MAC, GUEST_TAP);
        assert.deepEqual(
          receipt.nics.map(({ nic }) => nic?.macAddress),
          nics.map(({ mac }) => mac),
        );
        for (const { nic } of receipt.nics) assert.equal(nic?.destinationDevice, "macvtap");
      });
    });
  }
});

async function cross({ managed, guests: [guest] }: SparedLab, mode: MigrationMode) {
  assert.ok(guest);
  const to = guest.current.host === "ha" ? "hb" : "ha";
  const crossing = await guest.cross({ to, mode, bounds: UNTIMED_BOUNDS, watchAfterMs: WATCH_AFTER_MS });
  const receipt = await managed.controlPlane.receipt(crossing.migration.migrationId);
  return { crossing, receipt };
}

async function crossTaps(lab: SparedLab, mode: MigrationMode): Promise<Compared> {
  const { controlAddress, hosts } = lab.managed.lab.topology;
  const url = `http://${controlAddress}:${METRICS_PORT}/metrics`;
  const lateness = await Promise.all(hosts.map((host, index) => FdbLateness.start(host, index + 1)));
  const before = await scrape(url);
  const { crossing, receipt } = await cross(lab, mode);
  const latenessUs = (await Promise.all(lateness.map((one) => one.close()))).flat();
  const grew = async (span: string, of: Mode): Promise<number> => {
    const labels = `{mode="${migrationModeToJSON(of).replace("MIGRATION_MODE_", "")}",span="${span}"}`;
    const [sum, count] = ["sum", "count"].map(
      (part) => `switchover_coordinator_span_seconds_${part}${labels}`,
    );
    const metrics = await pollUntil(
      async () => {
        const now = await scrape(url);
        const counted = (sampleValue(now, count ?? "") ?? 0) - (sampleValue(before, count ?? "") ?? 0);
        assert.ok(counted <= 1, "one migration is counted once");
        return counted === 1 ? now : undefined;
      },
      METERED_WITHIN_MS,
      `The count of ${span}`,
    );
    return ((sampleValue(metrics, sum ?? "") ?? 0) - (sampleValue(before, sum ?? "") ?? 0)) * 1_000_000;
  };
  const { mode: told } = receipt;
  return {
    receipt: {
      blackoutUs: spanUs(receipt, SpanKind.BLACKOUT),
      stopToDeregisteredUs: sinceStopUs(receipt, InstantKind.DEREGISTERED),
      blackHoleUs: spanUs(receipt, SpanKind.UNREGISTERED),
      duplicateUs: spanUs(receipt, SpanKind.DUPLICATE),
    },
    metrics: {
      blackoutUs: await grew("BLACKOUT", told),
      blackHoleUs: await grew("UNREGISTERED", told),
      duplicateUs: await grew("DUPLICATE", told),
    },
    witness: witnessed(crossing),
    latenessUs,
  };
}

/** The windows as the witnesses have them; of registrations where there were some. */
function witnessed({ figures, record }: ManagedCrossing): Windows {
  const { stopAtUnixUs, stopToDeregisteredUs = Number.NaN, stopToResumeUs, duplicateUs } = figures;
  assert.ok(stopAtUnixUs !== undefined && stopToResumeUs !== undefined, "the CPUs moved");
  const [, destination] = record.instances;
  const registeredAtUnixUs = placesOf(destination === undefined ? [] : [destination])
    .flatMap((place) => registeredIntervals(record.fdb, place, record.window.toUnixUs))
    .map(({ fromUnixUs }) => fromUnixUs)
    .filter((atUnixUs) => atUnixUs > stopAtUnixUs);
  return {
    blackoutUs: stopToResumeUs,
    stopToDeregisteredUs,
    blackHoleUs: Math.max(...registeredAtUnixUs) - (stopAtUnixUs + stopToDeregisteredUs),
    duplicateUs,
  };
}

function spanUs({ spans }: Receipt, kind: SpanKind): number {
  const span = spans.find((one) => one.kind === kind);
  assert.ok(span, `the receipt has no span ${kind}`);
  return Number(span.durationUs);
}

function sinceStopUs({ instants }: Receipt, kind: InstantKind): number {
  const at = (wanted: InstantKind) => instants.find((one) => one.kind === wanted)?.atUnixUs;
  const [from, to] = [at(InstantKind.STOPPED), at(kind)];
  assert.ok(from !== undefined && to !== undefined);
  return Number(to - from);
}

/** Each migration's within 200 us, or that of two. */
function assertAgree(
  context: Pick<TestContext, "diagnostic">,
  what: string,
  compared: readonly Compared[],
  pairOf: (one: Compared) => readonly [number, number],
  agreeing: "each" | "some",
): void {
  const differencesUs = compared.map((one) => {
    const [told, seen] = pairOf(one);
    return Math.round(told - seen);
  });
  context.diagnostic(`${what}: told minus seen ${differencesUs.join(", ")} us`);
  const near = differencesUs.filter((differenceUs) => Math.abs(differenceUs) <= WITHIN_US);
  const due = agreeing === "each" ? CROSSINGS : SOME;
  assert.ok(near.length >= due, `${what}: apart by ${differencesUs.join(", ")} us`);
}
