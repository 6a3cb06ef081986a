import assert from "node:assert/strict";
import { test } from "node:test";
import { skipWithout } from "../resource.ts";
import { runChaos } from "./chaos-run.ts";

/** `npm run -s chaos` does the same with 500 migrations for a minute. */
const SHORT = { migrations: 30, seconds: 15, hosts: 40 } as const;

test("of coordinators and nats-servers one is killed every second, and no migration is lost, doubled or left open", {
  skip: skipWithout("natsServer"),
}, async (t) => {
  const seed = Date.now() % 1_000_000;
  t.diagnostic(`npm run -s chaos -- --migrations 30 --seconds 15 --hosts 40 --seed ${seed}`);
  const result = await runChaos({ ...SHORT, seed, keepIn: undefined, tell: () => {} });
  const { faults, ...rest } = result;
  t.diagnostic(JSON.stringify(rest));
  assert.deepEqual(faults, []);
  const kills = Object.values(rest.kills).reduce((sum, count) => sum + count, 0);
  assert.equal(kills, SHORT.seconds);
});
