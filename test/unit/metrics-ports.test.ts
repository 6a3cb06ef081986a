import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { openJournalDirectory } from "../../agent/journal/guest-journal.ts";
import type { JournalStore } from "../../agent/journal/journal.ts";
import type { JournalEntry } from "../../agent/journal/journal-entry.ts";
import { QmpRequests } from "../../agent/vmm/qmp-requests.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { Drain, DrainedGuestState, DrainPhase } from "../../proto/gen/switchover/v1/drain.ts";
import type { GuestId, InstanceId } from "../../proto/ids.ts";
import { meteredJournals } from "../../services/agent/metered-journals.ts";
import { meterQmp } from "../../services/agent/metered-qmp.ts";
import { meterDrains } from "../../services/coordinator/meter-drains.ts";
import { meterFeedLag } from "../../services/coordinator/meter-feed-lag.ts";
import { Metrics } from "../../services/metrics/metrics.ts";
import { parseMetrics, sampleValue } from "./scrape.ts";

const WEB = "web-7" as GuestId;
const ENTRY: JournalEntry = {
  instanceId: "a1" as InstanceId,
  atUnixUs: 7,
  word: { kind: "fenceSeen", fence: { epoch: 1n, revision: 1n } },
};

async function sampled(metrics: Metrics, sample: string): Promise<number | undefined> {
  return sampleValue(parseMetrics(await metrics.text()), sample);
}

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "switchover-journals-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

describe("the metrics of journals", () => {
  it("have how often words were written and synced, and how large the files are, reopened ones too", async (t) => {
    const path = folder(t);
    const metrics = new Metrics();
    const journals = meteredJournals(openJournalDirectory(path), metrics);
    const journal = journals.open(WEB);
    journal.write(ENTRY);
    journal.write(ENTRY);
    await journal.sync();
    const bytes = statSync(join(path, "web-7.journal")).size;
    assert.ok(bytes > 0);
    assert.equal(await sampled(metrics, "switchover_agent_journal_bytes"), bytes);
    const took = (operation: string) => `switchover_agent_journal_seconds_count{operation="${operation}"}`;
    assert.equal(await sampled(metrics, took("write")), 2);
    assert.equal(await sampled(metrics, took("sync")), 1);
    journal.close();
    assert.equal(await sampled(metrics, "switchover_agent_journal_bytes"), 0);
    assert.equal(journals.open(WEB).entries.length, 2);
    assert.equal(await sampled(metrics, "switchover_agent_journal_bytes"), bytes);
  });

  it("count what a disk does not take, and let its error go on", async () => {
    const error = new SwitchoverError("UNAVAILABLE", "The disk is full.", { reason: "JOURNAL_UNWRITABLE" });
    const full: JournalStore = {
      guestIds: () => [],
      exists: () => true,
      open: () => ({
        entries: [],
        bytes: 0,
        write: () => {
          throw error;
        },
        sync: () => Promise.reject(error),
        close: () => {},
      }),
    };
    const metrics = new Metrics();
    const journal = meteredJournals(full, metrics).open(WEB);
    assert.throws(() => journal.write(ENTRY), error);
    await assert.rejects(journal.sync(), error);
    for (const operation of ["write", "sync"]) {
      const labels = `operation="${operation}",reason="JOURNAL_UNWRITABLE"`;
      assert.equal(await sampled(metrics, `switchover_agent_journal_failures_total{${labels}}`), 1);
    }
  });
});

describe("the metrics of QMP", () => {
  const failures = (command: string, reason: string) =>
    `switchover_agent_qmp_failures_total{command="${command}",reason="${reason}"}`;
  const answers = (command: string, part: string) =>
    `switchover_agent_qmp_seconds_${part}{command="${command}"}`;

  it("have each command's round trip once it has its answer, and what was refused or never answered", async () => {
    const metrics = new Metrics();
    let nowUnixUs = 1_000;
    const timers: (() => void)[] = [];
    const clock = {
      unixUs: () => nowUnixUs,
      after: (_ms: number, fire: () => void) => {
        timers.push(fire);
        return () => {};
      },
    };
    const requests = new QmpRequests(() => {}, clock, meterQmp(metrics).commands);
    const ask = (command: string) =>
      requests.send({ band: "in-band", command, args: undefined, timeoutMs: 5, onAnswer: () => {} });
    ask("query-status");
    nowUnixUs += 250;
    requests.answer({ kind: "return", id: 1, value: {} }, nowUnixUs);
    ask("cont");
    nowUnixUs += 500;
    requests.answer({ kind: "error", id: 2, errorClass: "GenericError", desc: "no" }, nowUnixUs);
    ask("stop");
    timers.at(-1)?.();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await sampled(metrics, answers("query-status", "count")), 1);
    assert.equal(await sampled(metrics, answers("query-status", "sum")), 0.000_25);
    assert.equal(await sampled(metrics, answers("cont", "sum")), 0.000_5);
    assert.equal(await sampled(metrics, answers("stop", "count")), undefined);
    assert.equal(await sampled(metrics, failures("cont", "QMP_REFUSED")), 1);
    assert.equal(await sampled(metrics, failures("stop", "QMP_TIMEOUT")), 1);
    assert.equal(await sampled(metrics, failures("query-status", "QMP_REFUSED")), undefined);
  });

  it("count sockets that another client has, and time each attempt", async () => {
    const metrics = new Metrics();
    const { connecting } = meterQmp(metrics);
    const busy = new SwitchoverError("UNAVAILABLE", "Busy.", { reason: "QMP_BUSY" });
    assert.equal(await connecting(async () => "vmm"), "vmm");
    await assert.rejects(
      connecting(() => Promise.reject(busy)),
      busy,
    );
    assert.equal(await sampled(metrics, failures("connect", "QMP_BUSY")), 1);
    assert.equal(await sampled(metrics, answers("connect", "count")), 2);
  });
});

describe("the metrics of drains and of the feed's consumer", () => {
  it("have the drains under way, and how many of their guests are moved and left; ended ones no more", async () => {
    const metrics = new Metrics();
    const draining = new DrainingHosts();
    meterDrains(metrics, draining);
    const guests = (...states: DrainedGuestState[]) => states.map((state) => ({ state }));
    const { MOVED, WAITING } = DrainedGuestState;
    const of = (hostId: string, phase: DrainPhase, states: DrainedGuestState[]) =>
      draining.hear(Drain.create({ spec: { hostId }, phase, guests: guests(...states) }));
    of("ha", DrainPhase.DRAINING, [MOVED, MOVED, WAITING]);
    of("hb", DrainPhase.CANCELLING, [WAITING]);
    of("hc", DrainPhase.DRAINED, [MOVED]);
    const open = (phase: string) => sampled(metrics, `switchover_coordinator_open_drains{phase="${phase}"}`);
    const left = (state: string) =>
      sampled(metrics, `switchover_coordinator_draining_guests{state="${state}"}`);
    assert.deepEqual([await open("DRAINING"), await open("CANCELLING")], [1, 1]);
    assert.deepEqual([await left("MOVED"), await left("WAITING"), await left("FAILED")], [2, 2, 0]);
    of("ha", DrainPhase.DRAINED, [MOVED, MOVED, MOVED]);
    assert.deepEqual([await open("DRAINING"), await left("MOVED"), await left("WAITING")], [0, 0, 1]);
  });

  it("have what waits in the feed and how late it comes", async () => {
    const metrics = new Metrics();
    let lag = { pending: 12, behindUs: 2_500_000 };
    meterFeedLag(metrics, { lag: () => lag });
    assert.equal(await sampled(metrics, "switchover_coordinator_feed_pending_events"), 12);
    assert.equal(await sampled(metrics, "switchover_coordinator_feed_behind_seconds"), 2.5);
    lag = { pending: 0, behindUs: -40 };
    assert.equal(await sampled(metrics, "switchover_coordinator_feed_behind_seconds"), 0);
  });
});
