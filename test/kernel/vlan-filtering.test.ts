import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { before, describe, it } from "node:test";
import { type KernelGuestRun, runOnDebianKernel } from "../lab/kernel-guest.ts";
import { skipWithout } from "../resource.ts";
import { EVERY_VLAN_FACT } from "./every-vlan-fact.ts";
import type { FactReport } from "./fact.ts";

/** An idle machine takes about two minutes. */
const GUEST_TIMEOUT_MS = 450_000;

if (bridgesFilterVlans()) {
  describe("bridges of a kernel that can filter VLANs (trap 5)", {
    skip: skipWithout("root"),
    timeout: 220_000,
  }, () => {
    for (const { name, holds } of EVERY_VLAN_FACT) it(name, () => holds());
  });
} else {
  const options = { skip: skipWithout("root", "qemu") };
  describe("bridges of Debian's kernel, which can filter VLANs (trap 5)", options, () => {
    let run: KernelGuestRun;

    before(async () => {
      run = await runOnDebianKernel("dist/test/kernel/tell-vlan-facts.js", GUEST_TIMEOUT_MS);
    });

    for (const { name } of EVERY_VLAN_FACT) it(name, () => assertTold(run, name));

    it("are each told of, by a program that comes to its end", () => {
      assert.equal(run.exitStatus, 0, run.console);
      assert.equal(run.lines.length, EVERY_VLAN_FACT.length);
    });
  });
}

function assertTold({ lines, console }: KernelGuestRun, fact: string): void {
  const reports = lines.map((line) => JSON.parse(line) as FactReport);
  const report = reports.find(({ name }) => name === fact);
  assert.ok(report !== undefined, `Not told. ${console}`);
  if (report.failure !== null) assert.fail(report.failure);
}

/** Tried in a network namespace that ends with the attempt. */
function bridgesFilterVlans(): boolean {
  const command = ["--net", "ip", "link", "add", "br0", "type", "bridge", "vlan_filtering", "1"];
  return spawnSync("unshare", command, { stdio: "ignore", timeout: 10_000 }).status === 0;
}
