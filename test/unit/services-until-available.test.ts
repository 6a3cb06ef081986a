import assert from "node:assert/strict";
import { test } from "node:test";
import { type ErrorCode, SwitchoverError } from "../../proto/error.ts";
import { untilAvailable } from "../../services/nats/until-available.ts";
import { rejection } from "./nats-bench.ts";

const NEVER = new AbortController().signal;

/** Fails so often before it succeeds. */
function failing(times: number, code: ErrorCode) {
  const attempts = { count: 0 };
  const work = async (): Promise<string> => {
    attempts.count += 1;
    if (attempts.count <= times) throw new SwitchoverError(code, "Not now.", { reason: "TEST" });
    return "done";
  };
  return { attempts, work };
}

test("what fails while NATS elects is done anew until it succeeds", async () => {
  const { attempts, work } = failing(2, "UNAVAILABLE");
  assert.equal(await untilAvailable(15_000, NEVER, work), "done");
  assert.equal(attempts.count, 3);
});

test("what fails for another reason, after its time, or for one who ends, is not done anew", async () => {
  const refused = failing(1, "INTERNAL");
  assert.equal((await rejection(untilAvailable(15_000, NEVER, refused.work))).code, "INTERNAL");
  const late = failing(1, "UNAVAILABLE");
  assert.equal((await rejection(untilAvailable(0, NEVER, late.work))).code, "UNAVAILABLE");
  const ending = failing(1, "UNAVAILABLE");
  assert.equal(
    (await rejection(untilAvailable(15_000, AbortSignal.abort(), ending.work))).code,
    "UNAVAILABLE",
  );
  assert.deepEqual(
    [refused, late, ending].map(({ attempts }) => attempts.count),
    [1, 1, 1],
  );
});
