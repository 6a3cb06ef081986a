import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { withRetries } from "../../coordinator/migration/retries.ts";
import { driveCommand } from "../../coordinator/runner/drive-command.ts";
import { DEFAULT_RUNNER_LIMITS } from "../../coordinator/runner/runner-ports.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { Story } from "./coordinator-story.ts";

const UNREACHED = { code: "UNAVAILABLE", reason: "UNREACHABLE" };

describe("what was retried", () => {
  it("is counted by command, host, code and reason", () => {
    const story = new Story().toTransferring();
    const tell = (side: "source" | "destination", attempts: (typeof UNREACHED)[]) =>
      story.hear({ t: "CommandRetried", side, name: "getHandOff", attempts });
    tell("source", [UNREACHED, UNREACHED, { ...UNREACHED, reason: "NO_ANSWER" }]);
    tell("source", [UNREACHED]);
    tell("destination", [UNREACHED]);
    const ofKind = { command: "getHandOff", code: "UNAVAILABLE" };
    assert.deepEqual(story.state.retries, [
      { ...ofKind, hostId: "ha", reason: "UNREACHABLE", attempts: 3 },
      { ...ofKind, hostId: "ha", reason: "NO_ANSWER", attempts: 1 },
      { ...ofKind, hostId: "hb", reason: "UNREACHABLE", attempts: 1 },
    ]);
    assert.equal(story.state.migration.phase, Phase.TRANSFERRING);
  });

  it("fills no record: beyond 64 kinds only the known ones are counted", () => {
    let { state } = new Story();
    for (let kind = 0; kind < 100; kind += 1) {
      state = withRetries(state, "source", "getHandOff", [{ code: "ABORTED", reason: `R${kind}` }]);
    }
    state = withRetries(state, "source", "getHandOff", [{ code: "ABORTED", reason: "R63" }]);
    assert.equal(state.retries.length, 64);
    assert.equal(state.retries.at(-1)?.attempts, 2);
    assert.equal(withRetries(state, "source", "getHandOff", [{ code: "ABORTED", reason: "R64" }]), state);
  });

  for (const [answers, told] of [
    [["UNAVAILABLE", "UNAVAILABLE", "done"], 2],
    [["done"], null],
    [["FAILED_PRECONDITION"], 1],
  ] as const) {
    it(`is told once for a command that was answered ${answers.join(", ")}`, async () => {
      const left = [...answers] as string[];
      const retried: number[] = [];
      const releaseSource = async () => {
        const answer = left.shift();
        if (answer !== "done") throw new SwitchoverError(answer as "UNAVAILABLE", "No.", { reason: "NO" });
        return { applied: 1 };
      };
      const clock = {
        unixUs: () => 0,
        after: (_ms: number, fire: () => void) => {
          queueMicrotask(fire);
          return () => {};
        },
      };
      const silent = () => {};
      const ports = {
        agents: { releaseSource },
        fencing: {},
        clock,
        log: { debug: silent, info: silent, warn: silent, error: silent },
      } as unknown as Parameters<typeof driveCommand>[2];
      const story = new Story().toTransferring();
      story.startsCpus();
      const [command] = story.last?.commands ?? [];
      assert.ok(command?.name === "releaseSource");
      const scope = {
        fence: () => ({ epoch: 1n, revision: 1n }),
        isWanted: () => true,
        onRetried: (attempts: readonly unknown[]) => void retried.push(attempts.length),
        onStaleFence: () => {},
        signal: new AbortController().signal,
        trace: { traceparent: "" },
      };
      await driveCommand(command, scope, ports, DEFAULT_RUNNER_LIMITS);
      assert.deepEqual(retried, told === null ? [] : [told]);
    });
  }
});
