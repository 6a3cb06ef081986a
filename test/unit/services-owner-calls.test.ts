import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Applied, CpuState, GuestInstance, VmmDemand } from "../../proto/gen/switchover/v1/guest.ts";
import type { ReportCpuStateRequest } from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import { reportCpuState, startCpus } from "../../services/switchoverctl/owner-calls.ts";
import { REPORT_SETTINGS, START_CPUS_SETTINGS } from "../../services/switchoverctl/owner-settings.ts";
import { runToEnd } from "./program-process.ts";

const FLAGS = ["--agent", "127.0.0.1:1", "--guest", "web-7"];

/** An agent that wants so much of the VMM. */
function agentThatWants(...demands: VmmDemand[]) {
  const asked: unknown[] = [];
  const screen = {
    text: "",
    write: (part: string) => {
      screen.text += part;
    },
  };
  const answer = async (request: unknown) => {
    asked.push(request);
    return { applied: Applied.CHANGED, instance: GuestInstance.fromPartial({ demands }) };
  };
  return { asked, screen, client: { startCpus: answer, reportCpuState: answer } };
}

function reportOf(...flags: string[]) {
  const reading = readSettings(REPORT_SETTINGS, [...FLAGS, ...flags], {});
  assert.ok(reading.t === "settings", JSON.stringify(reading));
  return reading.values;
}

describe("switchoverctl report-cpu-state", () => {
  it("tells all that its flags say and nothing else, and shows what the VMM is to do", async () => {
    const { asked, client, screen } = agentThatWants(VmmDemand.STOP_CPUS, VmmDemand.END_VMM);
    const told = ["--cpus", "stopped", "--run-state", "paused", "--transfer-status", "completed"];
    const more = ["--instance", "b1", "--observed-at", "17", "--start-refusal", "No disk."];
    assert.equal(await reportCpuState(reportOf(...told, ...more), client, screen), 0);
    assert.equal(await reportCpuState(reportOf("--cpus", "running"), client, screen), 0);
    const expected: readonly ReportCpuStateRequest[] = [
      {
        guestId: "web-7",
        instanceId: "b1",
        cpuState: CpuState.STOPPED,
        runState: "paused",
        transferStatus: "completed",
        observedAtUnixUs: 17n,
        startRefusal: "No disk.",
      },
      {
        guestId: "web-7",
        instanceId: "",
        cpuState: CpuState.RUNNING,
        runState: "",
        transferStatus: "",
        observedAtUnixUs: 0n,
        startRefusal: "",
      },
    ];
    assert.deepEqual(asked, expected);
    assert.equal(screen.text, "stop-cpus\nend-vmm\nstop-cpus\nend-vmm\n");
  });

  it("refuses a wrong command line, and says where nobody answers", async (t) => {
    const help = await runToEnd(t, "switchoverctl", ["report-cpu-state", "--help"]);
    assert.match(help.stdout, /--transfer-status WORD[\s\S]*Examples:/);
    const wrong = await runToEnd(t, "switchoverctl", ["report-cpu-state", ...FLAGS, "--cpus", "resting"]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /--cpus: "resting" is neither running nor stopped/);
    const silent = await runToEnd(t, "switchoverctl", ["report-cpu-state", ...FLAGS, "--cpus", "running"]);
    assert.equal(silent.code, 3);
    assert.match(silent.stderr, /no agent answers/);
  });
});

describe("switchoverctl start-cpus", () => {
  it("asks for the guest's start and shows the permission, as JSON where that is asked for", async () => {
    const { asked, client, screen } = agentThatWants(VmmDemand.START_CPUS);
    for (const flags of [[], ["--json", "--runs-nowhere-else"]]) {
      const reading = readSettings(START_CPUS_SETTINGS, [...FLAGS, ...flags], {});
      assert.ok(reading.t === "settings");
      assert.equal(await startCpus(reading.values, client, screen), 0);
    }
    const target = { guestId: "web-7", instanceId: "" };
    assert.deepEqual(asked, [
      { ...target, runsNowhereElse: false },
      { ...target, runsNowhereElse: true },
    ]);
    const [text, json] = screen.text.split("\n");
    assert.equal(text, "start-cpus");
    assert.deepEqual(JSON.parse(json ?? "").instance.demands, ["VMM_DEMAND_START_CPUS"]);
  });
});
