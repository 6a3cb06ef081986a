import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Applied } from "../../proto/gen/switchover/v1/guest.ts";
import { DeviceOrigin, NicDefinition, Registration } from "../../proto/gen/switchover/v1/nic.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import { ATTACH_NIC_SETTINGS, DETACH_NIC_SETTINGS } from "../../services/switchoverctl/nic-settings.ts";
import { attachNic, detachNic } from "../../services/switchoverctl/nics.ts";

const NIC = {
  nicId: "net1",
  macAddress: "52:54:00:12:34:57",
  tapOnBridge: { deviceName: "web7-1", bridge: "br0" },
};
const WHO = ["--agent", "10.0.0.1:7443", "--guest", "web-7"];
const PREPARED = {
  nicId: "net1",
  deviceName: "web7-1",
  interfaceIndex: 7,
  origin: DeviceOrigin.CREATED,
  characterDevice: "",
};

async function attach(
  answer: { readonly applied: Applied; readonly registration: Registration },
  ...argv: readonly string[]
) {
  const reading = readSettings(ATTACH_NIC_SETTINGS, [...WHO, "--nic", JSON.stringify(NIC), ...argv], {});
  assert.equal(reading.t, "settings");
  const asked: unknown[] = [];
  let text = "";
  const client = {
    attachNic: async (request: unknown) => {
      asked.push(request);
      return { ...answer, nic: answer.applied === Applied.UNSPECIFIED ? undefined : PREPARED };
    },
  };
  const code = await attachNic(reading.values, client, { write: (part) => (text += part) });
  return { code, text, asked };
}

describe("switchoverctl attach-nic", () => {
  it("asks the agent for the NIC, and says whether it is registered", async () => {
    const { code, text, asked } = await attach({
      applied: Applied.CHANGED,
      registration: Registration.REGISTERED,
    });
    assert.equal(code, 0);
    assert.equal(text, "net1 is attached on web7-1, and registered.\n");
    const nic = NicDefinition.fromJSON(NIC);
    assert.deepEqual(asked, [{ guestId: "web-7", instanceId: "", nic, validateOnly: false }]);
  });

  it("says that the NIC of a guest that stands starts with it, and that it was there before", async () => {
    const { text } = await attach({
      applied: Applied.ALREADY_SO,
      registration: Registration.QUARANTINED,
    });
    assert.equal(text, "net1 was attached already on web7-1; it starts with the guest's CPUs.\n");
  });

  it("only checks with --dry-run", async () => {
    const { text, asked } = await attach(
      { applied: Applied.UNSPECIFIED, registration: Registration.UNSPECIFIED },
      "--dry-run",
    );
    assert.equal(text, "net1 can be attached.\n");
    assert.match(JSON.stringify(asked), /"validateOnly":true/);
  });

  for (const text of ["net1", "{", '{"tapOnBridge":{"macTableManager":"NOBODY"}}']) {
    it(`refuses --nic ${text}`, () => {
      const reading = readSettings(ATTACH_NIC_SETTINGS, [...WHO, "--nic", text], {});
      assert.deepEqual(reading.t === "faults" && reading.faults.map(({ name }) => name), ["--nic"]);
    });
  }
});

describe("switchoverctl detach-nic", () => {
  it("asks the agent, and says whether there was such a NIC", async () => {
    const reading = readSettings(DETACH_NIC_SETTINGS, [...WHO, "--instance", "a1", "--nic", "net1"], {});
    assert.equal(reading.t, "settings");
    const asked: unknown[] = [];
    let text = "";
    for (const applied of [Applied.CHANGED, Applied.ALREADY_SO]) {
      const client = {
        detachNic: async (request: unknown) => {
          asked.push(request);
          return { applied };
        },
      };
      assert.equal(await detachNic(reading.values, client, { write: (part) => (text += part) }), 0);
    }
    assert.equal(text, "net1 is detached.\nThere is no net1.\n");
    assert.deepEqual(asked[0], { guestId: "web-7", instanceId: "a1", nicId: "net1" });
  });
});
