import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TransferProgressReader } from "../../agent/guest/transfer-progress-reader.ts";
import type { MigrationProgress } from "../../agent/vmm/migration-progress.ts";
import type { OnVmmAnswer } from "../../agent/vmm/vmm.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { armedGuest } from "./guest-gate.ts";

/** A reader of an active transfer, whose time goes on and whose VMM answers when the test says so. */
function bench() {
  const armed = armedGuest("live", "completed");
  assert.ok(armed.migration !== null);
  const guest = { ...armed, migration: { ...armed.migration, transferStatus: "active" } };
  const questions: OnVmmAnswer<MigrationProgress>[] = [];
  const told: string[] = [];
  let nowUs = 0;
  let due: { atUs: number; fire: () => void } | undefined;
  const reader = new TransferProgressReader(
    { sendQueryMigrate: (onAnswer) => void questions.push(onAnswer) },
    { guest },
    {
      unixUs: () => nowUs,
      after: (delayMs, fire) => {
        const timer = { atUs: nowUs + delayMs * 1_000, fire };
        due = timer;
        return () => {
          if (due === timer) due = undefined;
        };
      },
    },
    (_guest, event) => void told.push(event.$case),
  );
  reader.resume();
  return {
    told,
    /** Questions that are not answered yet. */
    questions,
    passes: (ms: number) => {
      const untilUs = nowUs + ms * 1_000;
      for (let next = due; next !== undefined && next.atUs <= untilUs; next = due) {
        nowUs = next.atUs;
        due = undefined;
        next.fire();
      }
      nowUs = untilUs;
    },
    answers: (transferredBytes: number, passes = 1) => {
      const value = { transferredBytes, rateMbps: 1, remainingBytes: 1, totalBytes: 9, passes };
      const times = { sentAtUnixUs: nowUs, receivedAtUnixUs: nowUs };
      questions.shift()?.({ kind: "done", value: value as MigrationProgress, ...times });
    },
    fails: () => {
      const error = new SwitchoverError("DEADLINE_EXCEEDED", "no answer", { reason: "QMP_TIMEOUT" });
      questions.shift()?.({ kind: "failed", error, sentAtUnixUs: nowUs, receivedAtUnixUs: nowUs });
    },
  };
}

describe("the reader of a transfer's progress", () => {
  it("asks a VMM that does not answer no second question, and goes on once it has answered", () => {
    const { answers, passes, questions, told } = bench();
    passes(3_000);
    assert.equal(questions.length, 1);
    answers(1);
    assert.deepEqual(told, ["transferProgressed"]);
    passes(250);
    assert.equal(questions.length, 1);
  });

  it("asks again where an answer did not come in time", () => {
    const { fails, passes, questions, told } = bench();
    passes(250);
    fails();
    passes(250);
    assert.equal(questions.length, 1);
    assert.deepEqual(told, []);
  });

  it("tells once a second, and at once of a further pass over memory", () => {
    const { answers, passes, told } = bench();
    const toldAfter = (ms: number, pass: number) => {
      passes(ms);
      answers(1_000 * pass, pass);
      return told.length;
    };
    const counts = [1, 1, 1, 1, 1, 2, 2, 2, 2].map((pass) => toldAfter(250, pass));
    assert.deepEqual(counts, [1, 1, 1, 1, 2, 3, 3, 3, 3]);
  });

  it("tells less often the longer the transfer lasts, and every 5 s in the end", () => {
    const { answers, passes, told } = bench();
    const toldWithin = (ms: number) => {
      const before = told.length;
      for (let leftMs = ms; leftMs > 0; leftMs -= 250) {
        passes(250);
        answers(leftMs);
      }
      return told.length - before;
    };
    assert.equal(toldWithin(10_000), 10);
    const [second, third] = [toldWithin(20_000), toldWithin(20_000)];
    assert.ok(second < 14 && third < second, `${second}, ${third}`);
    assert.equal(toldWithin(60_000), 12);
  });

  it("tells a stall once when no byte has moved for 5 s", () => {
    const { answers, passes, told } = bench();
    for (let count = 0; count < 24; count++) {
      passes(250);
      answers(7);
    }
    assert.equal(told.filter((kind) => kind === "transferStalled").length, 1);
  });
});
