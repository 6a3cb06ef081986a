import assert from "node:assert/strict";
import { test } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import {
  InstantKind,
  Migration,
  MigrationMode,
  MigrationSpec,
  Outcome,
  Phase,
} from "../../proto/gen/switchover/v1/migration.ts";
import { Display } from "../../services/switchoverctl/display.ts";
import { durationText } from "../../services/switchoverctl/duration-text.ts";
import { exitCodeOf, exitCodeOfError } from "../../services/switchoverctl/exit-code.ts";
import { progressLine } from "../../services/switchoverctl/progress-line.ts";
import { renderTimeline } from "../../services/switchoverctl/timeline.ts";

const STOP = 1_790_000_000_000_000n;

function migrationWith(instants: readonly (readonly [InstantKind, string, bigint])[]): Migration {
  return Migration.create({
    migrationId: "web-7-mk3v0q8ya1z9",
    spec: { guestId: "web-7", sourceHostId: "ha", destinationHostId: "hb", mode: MigrationMode.LIVE },
    phase: Phase.COMPLETED,
    outcome: Outcome.RUNS_ON_DESTINATION,
    phases: [
      { phase: Phase.PENDING, atUnixUs: STOP - 60_000n },
      { phase: Phase.TRANSFERRING, atUnixUs: STOP - 50_000n },
      { phase: Phase.COMPLETED, atUnixUs: STOP + 9_000n },
    ],
    instants: instants.map(([kind, hostId, afterUs]) => ({ kind, hostId, atUnixUs: STOP + afterUs })),
  });
}

test("a timeline has a lane for each host, milliseconds from STOP, and the sums that matter", () => {
  const migration = migrationWith([
    [InstantKind.RESUMED, "hb", 4_702n],
    [InstantKind.STOPPED, "ha", 0n],
    [InstantKind.STOP_RECEIVED, "ha", 41n],
    [InstantKind.DEREGISTERED, "ha", 412n],
    [InstantKind.HANDED_OFF, "ha", 2_310n],
    [InstantKind.HAND_OFF_RECEIVED, "hb", 2_905n],
    [InstantKind.READY, "hb", 4_120n],
    [InstantKind.REGISTERED, "hb", 4_451n],
    [InstantKind.CONT_SENT, "hb", 4_470n],
    [InstantKind.ANNOUNCED, "hb", 5_010n],
  ]);
  assert.equal(
    renderTimeline(migration),
    [
      "web-7: ha -> hb, live, completed, guest runs on destination  (web-7-mk3v0q8ya1z9)",
      "",
      "        ms | ha (source)              | hb (destination)",
      "-----------+--------------------------+-------------------------",
      "     0.000 | STOP                     |",
      "     0.041 | stop seen by agent       |",
      "     0.412 | deregistered             |",
      "     2.310 | handed off ------------> |",
      "     2.905 |                          | hand-off received",
      "     4.120 |                          | ready",
      "     4.451 |                          | registered, read back",
      "     4.470 |                          | cont sent",
      "     4.702 |                          | RESUME",
      "     5.010 |                          | announced",
      "",
      "     4.702 ms  CPUs stood still",
      "     4.039 ms  MAC on neither host",
      "     0.582 ms  destination ready until RESUME",
      "pending 10 ms, transferring 59 ms",
    ].join("\n"),
  );
});

test("a guest that was not running has a timeline from its first step", () => {
  const text = renderTimeline(
    migrationWith([
      [InstantKind.HANDED_OFF, "ha", 500n],
      [InstantKind.HAND_OFF_RECEIVED, "hb", 900n],
    ]),
  );
  assert.match(text, /0\.000 \| handed off -+> \|\n +0\.400 \| +\| hand-off received/);
});

test("a migration within one host keeps its two lanes", () => {
  const migration = Migration.create({
    ...migrationWith([
      [InstantKind.STOPPED, "ha", 0n],
      [InstantKind.RESUMED, "ha", 1_000n],
    ]),
    spec: { guestId: "web-7", sourceHostId: "ha", destinationHostId: "ha" },
  });
  assert.match(renderTimeline(migration), /0\.000 \| STOP +\|\n +1\.000 \| +\| RESUME/);
});

test("a migration that never switched over says so, with the reason", () => {
  const migration = Migration.create({
    ...migrationWith([]),
    phase: Phase.FAILED,
    outcome: Outcome.RUNS_ON_SOURCE,
    reason: "No bridge br9.",
  });
  const text = renderTimeline(migration);
  assert.match(text, /failed, guest runs on source: No bridge br9\./);
  assert.match(text, /No switchover took place\./);
});

const PROGRESS = {
  transferredBytes: 10n << 20n,
  remainingBytes: 96n << 20n,
  totalBytes: 128n << 20n,
  rateBitsPerSecond: 240_000_000n,
  passes: 1,
};

test("a progress line shows phase, bytes, rate, pass, and when the switchover is to be expected", () => {
  const migration = Migration.create({
    phase: Phase.TRANSFERRING,
    progress: { ...PROGRESS, expectedDowntimeMs: 40 },
  });
  assert.equal(
    progressLine(migration),
    "transferring    [#####---------------]  25 %  10.0 MiB sent  96.0 of 128.0 MiB to go  30.0 MB/s  pass 1" +
      "  switchover in 3.3 s or later  expected stop 40 ms",
  );
});

test("the switchover is expected by what triggers it, and after it the last page", () => {
  const expectation = (
    phase: Phase,
    trigger: NonNullable<MigrationSpec["postCopy"]>["trigger"],
    rate = 240n,
  ) => {
    const spec = MigrationSpec.create({ mode: MigrationMode.POST_COPY, postCopy: { trigger } });
    const progress = { ...PROGRESS, passes: 0, rateBitsPerSecond: rate * 1_000_000n };
    return progressLine(Migration.create({ phase, spec, progress })).split("MB/s").at(-1)?.trim();
  };
  assert.equal(
    expectation(Phase.TRANSFERRING, { $case: "afterPasses", value: 2 }),
    "switchover after pass 2",
  );
  assert.equal(
    expectation(Phase.TRANSFERRING, { $case: "afterMs", value: 200_000 }),
    "switchover 3 min 20 s after its begin",
  );
  assert.equal(expectation(Phase.TRANSFERRING, undefined), "switchover in 3.3 s or later");
  assert.equal(expectation(Phase.TRANSFERRING, undefined, 0n), "");
  assert.equal(expectation(Phase.POST_COPY, undefined), "all there in 3.3 s");
  assert.equal(expectation(Phase.SWITCHING_OVER, undefined), "");
});

test("a bar is never longer than its frame, whatever the VMM says", () => {
  const barOf = (remainingBytes: bigint) =>
    progressLine(Migration.create({ phase: Phase.TRANSFERRING, progress: { ...PROGRESS, remainingBytes } }))
      .slice(16, 45)
      .trimEnd();
  assert.equal(barOf(0n), "[####################] 100 %");
  assert.equal(barOf(200n << 20n), "[--------------------]   0 %");
});

test("how long is told in the unit that fits", () => {
  const texts = [-5, 0, 999, 59_999, 60_000, 3_599_999, 3_600_000, 7_500_000].map(durationText);
  assert.deepEqual(texts, [
    ...["0.0 s", "0.0 s", "0.9 s", "59.9 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "2 h 5 min"],
  ]);
});

test("a terminal never gets a line that it would wrap", () => {
  let text = "";
  const display = new Display({ isTTY: true, columns: 20, write: (part) => (text += part) }, "text");
  display.progress(Migration.create({ phase: Phase.TRANSFERRING, progress: PROGRESS }));
  assert.equal(text, "\r\u001b[2Ktransferring    [###");
  display.screen("x".repeat(30));
  assert.ok(text.endsWith(`J${"x".repeat(20)}\n`));
});

test("JSON display writes one migration a line and no notes", () => {
  let text = "";
  const display = new Display({ write: (part) => (text += part) }, "json");
  display.progress(Migration.create({ migrationId: "a", phase: Phase.PENDING }));
  display.note("For people.");
  display.screen("For people.");
  display.end(Migration.create({ migrationId: "a", phase: Phase.COMPLETED }));
  const phases = text
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { phase: string }).phase);
  assert.deepEqual(phases, ["PHASE_PENDING", "PHASE_COMPLETED"]);
});

test("exit codes tell completed, failed, wrong input and silence apart", () => {
  const ended = (phase: Phase) => exitCodeOf(Migration.create({ phase }));
  assert.deepEqual([Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED, Phase.AMBIGUOUS].map(ended), [
    0,
    1,
    1,
    undefined,
  ]);
  const codes = ["UNAVAILABLE", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "NOT_FOUND"] as const;
  const exits = codes.map((code) => exitCodeOfError(new SwitchoverError(code, "x", { reason: "X" })));
  assert.deepEqual(exits, [3, 3, 2, 1]);
});
