import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Applied, CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import {
  type CancelTransferResponse,
  HandBackAnswer,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import type { FencedRequest } from "../../services/switchoverctl/agent-client.ts";
import { abortDestination, cancelTransfer, handBack } from "../../services/switchoverctl/fenced-calls.ts";
import { FENCED_SETTINGS, type FencedValues } from "../../services/switchoverctl/fenced-settings.ts";
import { runToEnd } from "./program-process.ts";

const ID = "web-7-mk3v0q8ya1z9";
const FLAGS = ["--agent", "127.0.0.1:1", "--instance", "web-7-a", "--epoch", "4", "--revision", "17"];
const KEPT: CancelTransferResponse = {
  answer: { $case: "kept", value: { runState: "running", cpuState: CpuState.RUNNING } },
};
const TOO_LATE: CancelTransferResponse = { answer: { $case: "tooLate", value: { handOff: undefined } } };

function valuesOf(...flags: string[]): FencedValues {
  const reading = readSettings(FENCED_SETTINGS, [...FLAGS, ...flags], {});
  assert.ok(reading.t === "settings");
  return reading.values;
}

/** An agent that answers so, and a person who confirms or does not. */
function agentWith(
  answers: { readonly transfer?: CancelTransferResponse; readonly handBack?: HandBackAnswer },
  isConfirmed = true,
) {
  const asked: FencedRequest[] = [];
  const statements: string[] = [];
  const screen = {
    text: "",
    write: (part: string) => {
      screen.text += part;
    },
  };
  const keep = async <T>(request: FencedRequest, answer: T): Promise<T> => {
    asked.push(request);
    return answer;
  };
  const ports = {
    client: {
      cancelTransfer: (request: FencedRequest) => keep(request, answers.transfer ?? KEPT),
      abortDestination: (request: FencedRequest) => keep(request, { applied: Applied.CHANGED }),
      handBack: (request: FencedRequest) =>
        keep(request, { answer: answers.handBack ?? HandBackAnswer.HANDED_BACK, vmmLost: false }),
    },
    screen,
    confirm: async (statement: string) => {
      statements.push(statement);
      return isConfirmed;
    },
  };
  return { ports, asked, statements, screen };
}

describe("switchoverctl in a coordinator's place", () => {
  it("asks with the fence that it was given, and for the guest that the migration names", async () => {
    for (const call of [cancelTransfer, abortDestination, handBack]) {
      const { ports, asked, statements } = agentWith({});
      assert.equal(await call(valuesOf(), ID, ports), 0);
      const fence = { epoch: 4n, revision: 17n };
      assert.deepEqual(asked, [{ fence, guestId: "web-7", instanceId: "web-7-a", migrationId: ID }]);
      assert.match(statements.join(), /^No coordinator is left to drive migration web-7-mk3v0q8ya1z9 /);
    }
  });

  it("exits with 1 where it is too late", async () => {
    const late = agentWith({ transfer: TOO_LATE, handBack: HandBackAnswer.TOO_LATE });
    for (const call of [cancelTransfer, handBack]) assert.equal(await call(valuesOf(), ID, late.ports), 1);
    assert.match(late.screen.text, /^Too late: .*\nToo late: /);
  });

  it("asks no agent where nobody stated that no coordinator is left", async () => {
    const { ports, asked } = agentWith({}, false);
    await assert.rejects(handBack(valuesOf(), ID, ports), { reason: "NOT_CONFIRMED", field: "--yes" });
    assert.equal(await handBack(valuesOf("--yes"), ID, ports), 0);
    assert.equal(asked.length, 1);
  });

  it("prints the answer as proto3 JSON", async () => {
    const { ports, screen } = agentWith({});
    await cancelTransfer(valuesOf("--json"), ID, ports);
    const kept = { runState: "running", cpuState: "CPU_STATE_RUNNING" };
    assert.deepEqual(JSON.parse(screen.text), { kept });
  });

  it("guesses nothing of a fence, and tells silence from a refusal", async (t) => {
    for (const word of ["cancel-transfer", "abort-destination", "hand-back"]) {
      const help = await runToEnd(t, "switchoverctl", [word, "--help"]);
      assert.match(help.stdout, /A coordinator does this by itself[\s\S]*Examples:/);
      const bare = await runToEnd(t, "switchoverctl", [word, ID]);
      assert.equal(bare.code, 2);
      for (const flag of ["agent", "instance", "epoch", "revision"]) {
        assert.match(bare.stderr, new RegExp(`--${flag} is required`));
      }
      const silent = await runToEnd(t, "switchoverctl", [word, ID, ...FLAGS, "--yes"]);
      assert.equal(silent.code, 3);
      assert.match(silent.stderr, /^switchoverctl: no agent answers at 127\.0\.0\.1:1: /);
    }
  });
});
