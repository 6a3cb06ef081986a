import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../simulation/main.js", import.meta.url));

const SCHEDULE = {
  seed: 1,
  coordinators: 1,
  nics: 1,
  feed: "away",
  qemu: "7.2",
  copyUs: 20_000,
  pagesUs: 5_000,
  migrations: [{ mode: "live", to: 0, guest: "running", postCopyAfterMs: 0 }],
  faults: [{ when: { migration: 0, mark: "handedOff", afterUs: 0 }, kind: "strangerConts", side: "source" }],
};
const WITHOUT_MARK = JSON.stringify({
  ...SCHEDULE,
  faults: [{ ...SCHEDULE.faults[0], when: { migration: 0, mark: "never", afterUs: 0 } }],
});

describe("simulate with what it cannot play", () => {
  for (const [flags, reasons] of [
    [["--runs", "0"], [/^--runs: "0" is not a whole number from 1 /]],
    [
      ["--seed", "x", "--workers", "1.5"],
      [/^--seed: "x" is not /, /^--workers: "1.5" is not /],
    ],
    [["--break", "bogus"], [/^--break: "bogus" is no rule: .*\bguard\b/]],
    [["--schedule", "{"], [/^--schedule: that is not JSON: /]],
    [["--schedule", "{}"], [/^--schedule: seed cannot be missing\./]],
    [["--schedule", WITHOUT_MARK], [/^--schedule: faults\[0\]\.when\.mark cannot be "never"\./]],
    [["--bogus"], [/^Unknown option '--bogus'/]],
  ] as const) {
    it(`says why before how: ${flags.join(" ")}`, () => {
      const { status, stderr, stdout } = spawnSync(process.execPath, [MAIN, ...flags], { encoding: "utf8" });
      assert.equal(status, 2, stderr);
      const lines = stderr.split("\n");
      for (const [index, reason] of reasons.entries()) assert.match(lines[index] ?? "", reason);
      assert.match(stderr, /\n\nUsage: npm run -s simulate /);
      assert.equal(stdout, "");
    });
  }
});

describe("simulate with a schedule that is given", () => {
  it("tells how to play that again, and not its seed, which stands for another", () => {
    const flags = ["--break", "guard", "--schedule", JSON.stringify(SCHEDULE)];
    const { status, stdout } = spawnSync(process.execPath, [MAIN, ...flags], { encoding: "utf8" });
    assert.equal(status, 1, stdout);
    assert.match(stdout, /^Shrunk: npm run -s simulate -- --break guard --schedule '\{/m);
    assert.doesNotMatch(stdout, /--seed/);
  });
});
