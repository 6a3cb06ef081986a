import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { findDrift, mendNics } from "../../agent/device/nic-mending.ts";
import { preflightNics, prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { armNicSet, verifyNics } from "../../agent/device/nic-set.ts";
import type { UnmanagedNic } from "../../agent/device/unmanaged/definition.ts";
import { parseNics, toNicMessage } from "../../agent/instance/nic-message.ts";
import { UnmanagedKind } from "../../proto/gen/switchover/v1/nic.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";

const KINDS = ["user", "vhostUser", "hostdev", "vdpa"] as const;
const NICS: readonly UnmanagedNic[] = KINDS.map((kind, index) => ({
  type: "unmanaged",
  nicId: `net${index}`,
  macAddress: parseMacAddress(`52:54:00:00:00:0${index + 1}`, ""),
  kind,
}));

describe("NICs that need nothing from the host", () => {
  it("are accepted by every operation, which says so and asks the kernel for nothing", () => {
    const kernel = new PretendedKernel();
    assert.deepEqual(preflightNics(kernel, NICS), []);
    const prepared = prepareNics({ route: kernel, factory: kernel }, NICS);
    assert.deepEqual(
      prepared.map(({ nicId, deviceName, ifindex }) => [nicId, deviceName, ifindex]),
      KINDS.map((_, index) => [`net${index}`, "", 0]),
    );
    const set = armNicSet(kernel, NICS, () => 0);
    const started = set.start();
    assert.equal(started.result, "started");
    assert.deepEqual(
      started.nics.map(({ outcome }) => outcome.result),
      KINDS.map(() => "nothingToDo"),
    );
    const stopped = set.stop();
    assert.equal(stopped.result, "stopped");
    assert.deepEqual(
      stopped.nics.map(({ outcome }) => outcome.result),
      KINDS.map(() => "nothingToDo"),
    );
    assert.deepEqual(
      verifyNics(kernel, NICS).map(({ registration }) => registration),
      KINDS.map(() => "unmanaged"),
    );
    for (const registered of ["registered", "quarantined"] as const) {
      assert.deepEqual(findDrift(kernel, NICS, registered), []);
      assert.deepEqual(mendNics(kernel, NICS, new Map(), registered), []);
    }
    assert.deepEqual(
      releaseNics(kernel, NICS, new Map(), "delete").map(({ problem }) => problem),
      KINDS.map(() => undefined),
    );
    assert.equal(kernel.changes, 0);
  });

  it("are in the contract by their kind, which is required", () => {
    assert.deepEqual(parseNics(NICS.map(toNicMessage)), NICS);
    const nameless = { ...toNicMessage(NICS[0] as UnmanagedNic) };
    assert.throws(
      () =>
        parseNics([
          { ...nameless, device: { $case: "unmanaged", value: { kind: UnmanagedKind.UNSPECIFIED } } },
        ]),
      { code: "INVALID_ARGUMENT", field: "nics[0].unmanaged.kind" },
    );
  });
});
