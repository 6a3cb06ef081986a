import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ServerUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { type ReceivedCommand, witnessed } from "../fleet/command-witness.ts";
import { PhaseLags } from "../fleet/phase-lags.ts";
import { wordsIn } from "../fleet/said-words.ts";
import { WallTimeline } from "../fleet/wall-timeline.ts";
import { Random } from "../simulation/engine/random.ts";

describe("the fleet's witnesses", () => {
  const command = (name: string, atUnixUs: number): ReceivedCommand => ({
    name,
    hostId: "ha",
    guestId: "web",
    atUnixUs,
  });

  it("count a phase lag from the last word that makes a command due, and a step lag from the last answer", () => {
    const lags = new PhaseLags();
    lags.received(command("preflight", 1_000));
    lags.answered(command("preflight", 1_000), 2_000);
    lags.received(command("prepareDestination", 5_000));
    lags.said({ guestId: "web", word: "cpusStarted" }, 10_000);
    lags.said({ guestId: "web", word: "completed" }, 20_000);
    lags.received(command("releaseSource", 27_000));
    // Driven again after its answer was lost.
    lags.received(command("releaseSource", 90_000));
    assert.deepEqual(lags.take(), { phaseLagsMs: [7], stepLagsMs: [3] });
    assert.deepEqual(lags.take(), { phaseLagsMs: [], stepLagsMs: [] });
  });

  it("find the words that make commands due in what is spooled, each from the side that counts", () => {
    const line = (instanceId: string, event: string) =>
      `event s 1 1 {"migrationId":"m","guestId":"web","hostId":"ha","instanceId":"${instanceId}",${event}}\n`;
    const status = (text: string) => `"transferStatusChanged":{"status":"${text}"}`;
    const text =
      line("web-a", status("active")) +
      line("web-a", status("completed")) +
      line("web-b", status("active")) +
      line("web-b", status("completed")) +
      line("web-b", '"cpusStarted":{"contSentAtUnixUs":"1"}') +
      "mark s 3 2\n";
    const words = wordsIn(text, (instanceId) => instanceId.endsWith("-a")).map(({ word }) => word);
    assert.deepEqual(words, ["active", "completed", "cpusStarted"]);
  });

  it("see an agent that acts on an older fence than before", () => {
    const violations: string[] = [];
    const listener = {
      received: () => {},
      answered: () => {},
      violated: (sentence: string) => void violations.push(sentence),
    };
    const answer = { applied: Applied.CHANGED };
    const obedient = (_call: unknown, callback: sendUnaryData<unknown>): void => callback(null, answer);
    const service = witnessed("ha", { armSource: obedient }, () => 0, listener);
    const arm = (epoch: bigint, revision: bigint): void => {
      const request = { guestId: "web", instanceId: "web-a", fence: { epoch, revision } };
      const handler = service.armSource as unknown as (
        call: ServerUnaryCall<unknown, unknown>,
        callback: sendUnaryData<unknown>,
      ) => void;
      handler({ request } as ServerUnaryCall<unknown, unknown>, () => {});
    };
    arm(2n, 5n);
    arm(2n, 6n);
    assert.deepEqual(violations, []);
    arm(2n, 5n);
    assert.deepEqual(violations, ["I6: ha acted on armSource of web under 2.5 after 2.6."]);
  });
});

describe("the wall clock's timeline", () => {
  it("does what is due in the order in which it is due, and nothing that was cancelled", async () => {
    const clock = openHostClock();
    // All is planned at one instant, however busy this machine is.
    let plannedAtUs: number | null = clock.unixUs();
    const timeline = new WallTimeline(
      { ...clock, unixUs: () => plannedAtUs ?? clock.unixUs() },
      new Random(1),
    );
    const done: string[] = [];
    const last = new Promise<void>((resolve) => {
      timeline.after(30_000, () => {
        done.push("30 ms");
        resolve();
      });
    });
    timeline.after(5_000, () => done.push("5 ms"));
    timeline.after(100, () => done.push("100 us"));
    timeline.after(1_400, () => done.push("1.4 ms"));
    timeline.after(2_000, () => done.push("never"))();
    plannedAtUs = null;
    await last;
    assert.deepEqual(done, ["100 us", "1.4 ms", "5 ms", "30 ms"]);
  });
});
