import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { AGENT_SETTINGS } from "../../services/agent/settings.ts";
import { skipWithout } from "../resource.ts";

const MODULE = new URL("../../services/agent/cpu-priority.js", import.meta.url);

/** What a process that gives itself the priority, under a limit of capabilities, warns of and is scheduled as. */
function scheduledAs(priority: string, ...under: readonly string[]): string {
  const program = `
    import { readFileSync } from "node:fs";
    import { applyCpuPriority } from ${JSON.stringify(fileURLToPath(MODULE))};
    const warnings = [];
    applyCpuPriority(${JSON.stringify(priority)}, { warn: (_, text) => warnings.push(text) });
    const fields = readFileSync("/proc/thread-self/stat", "utf8").replace(/^.*\\) /, "").split(" ");
    console.log("nice", fields[16], "policy", fields[38], "priority", fields[37], ...warnings);
  `;
  const [command = "", ...rest] = [...under, process.execPath, "--input-type=module", "--eval", program];
  return execFileSync(command, rest, { encoding: "utf8" }).trim();
}

describe("the agent's priority among those that share its CPUs", { skip: skipWithout("root") }, () => {
  it("is that of any process where it is normal", () => {
    assert.equal(scheduledAs("normal", "nice", "-n", "0"), "nice 0 policy 0 priority 0");
  });

  it("is the highest of its control group by default", () => {
    assert.equal(AGENT_SETTINGS["cpu-priority"].read([], "--cpu-priority"), "high");
    assert.equal(scheduledAs("high"), "nice -20 policy 0 priority 0");
  });

  it("is ahead of every process that is not real-time where it is realtime", () => {
    assert.equal(scheduledAs("realtime"), "nice 0 policy 2 priority 1");
  });

  it("stays as it was, and that is told, where the system refuses", () => {
    for (const priority of ["high", "realtime"]) {
      assert.match(
        scheduledAs(priority, "setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"),
        /^nice 0 policy 0 priority 0 The agent's CPU priority cannot be raised/,
      );
    }
  });

  it("is refused by the flag's name where there is no such", () => {
    assert.throws(() => AGENT_SETTINGS["cpu-priority"].read(["urgent"], "--cpu-priority"), {
      message: '--cpu-priority: "urgent" is none of high, realtime, normal.',
    });
  });
});
