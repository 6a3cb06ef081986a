import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../simulation/main.js", import.meta.url));

describe("simulate with what it cannot play", () => {
  for (const [flags, reasons] of [
    [["--runs", "0"], [/^--runs: "0" is not a whole number from 1 /]],
    [
      ["--seed", "x", "--workers", "1.5"],
      [/^--seed: "x" is not /, /^--workers: "1.5" is not /],
    ],
    [["--break", "bogus"], [/^--break: "bogus" is no rule: .*\bguard\b/]],
    [["--schedule", "{"], [/^--schedule: that is not JSON: /]],
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
