import assert from "node:assert/strict";
import { test } from "node:test";
import { openHostClock } from "../../services/clock/host-clock.ts";

test("the clock is the host's wall clock, in microseconds", () => {
  const clock = openHostClock();
  const before = Date.now();
  const readings = Array.from({ length: 200 }, () => clock.unixUs());
  const after = Date.now();
  assert.ok((readings[0] ?? 0) >= before * 1000 && (readings.at(-1) ?? 0) < (after + 1) * 1000);
  assert.ok(readings.every(Number.isSafeInteger));
  // Finer than milliseconds: two hundred readings take well under one.
  assert.ok(new Set(readings).size > 20, `${new Set(readings).size} different readings of 200`);
});

test("a timer fires once and never early", async () => {
  const clock = openHostClock();
  for (const delayMs of [0, 1, 5.5, 20]) {
    const start = performance.now();
    const keepAlive = setTimeout(() => {}, 5_000);
    await new Promise<void>((resolve) => clock.after(delayMs, resolve));
    clearTimeout(keepAlive);
    assert.ok(performance.now() - start >= delayMs, `${performance.now() - start} ms for ${delayMs}`);
  }
});

test("a timer that was called off does not fire", async () => {
  const clock = openHostClock();
  let fired = 0;
  const callOff = clock.after(1, () => {
    fired += 1;
  });
  callOff();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(fired, 0);
});
