import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { skipWithout } from "../resource.ts";
import { adopted, type Bench, nic, prepare, withAgent } from "./agent-bench.ts";
import { addObstacles, BAD_NICS } from "./bad-hands.ts";
import { macOf } from "./guest-nics.ts";
import { run } from "./in-network-namespace.ts";

const options = { skip: skipWithout("root"), timeout: 30_000 };

/** Everything of the host that a NIC could change, as `ip` and `bridge` themselves tell. */
function hostText(): string {
  return [
    // How long the bridges' timers still run is nobody's doing.
    run("ip", "-d", "link", "show").replaceAll(/\w+_timer +[\d.]+/g, ""),
    run("ip", "addr", "show"),
    run("ip", "-4", "route", "show", "table", "all"),
    run("ip", "-6", "route", "show", "table", "all"),
    run("bridge", "fdb", "show"),
    run("bridge", "-d", "link", "show"),
  ].join("\n");
}

/** An agent with a running guest, among devices that are in everybody's way; `text` is of the host and the journals. */
function amongObstacles(body: (bench: Bench, text: () => string) => Promise<void>): Promise<void> {
  let directory = "";
  return withAgent(
    async (bench) => {
      addObstacles();
      await adopted(bench, "running");
      // Alarms and drift come of what happens in the kernel, and none may have been caused.
      await bench.agent.feedDrained(1_000);
      await body(bench, () =>
        [
          hostText(),
          ...readdirSync(directory, { withFileTypes: true })
            .filter((entry) => entry.isFile())
            .map(({ name }) => `${name}: ${readFileSync(join(directory, name), "utf8")}`),
          ...bench.told.map((event) => JSON.stringify(event, (_, value) => String(value))),
        ].join("\n"),
      );
    },
    (_devices, stateDirectory) => {
      directory = stateDirectory;
      return {};
    },
  );
}

describe("an agent refuses, naming the field, and changes nothing:", options, () => {
  it("each NIC of the table, by PrepareNics beside a good one and by AttachNic", () =>
    amongObstacles(async ({ agent }, text) => {
      const before = text();
      for (const { what, nic: bad, code, reason, field } of BAD_NICS) {
        const refused = { code, ...(reason === undefined ? {} : { reason }) };
        const good = nic({ macAddress: macOf(2), deviceName: "good0" });
        const nics = [good, bad];
        const atIndex = { ...refused, field: `nics[1].${field}` };
        await assert.rejects(async () => agent.prepareNics(prepare("b1", nics, "db")), atIndex, what);
        assert.equal(text(), before, what);
        const attached = { guestId: "web", instanceId: "a1", nic: bad, validateOnly: false };
        await assert.rejects(
          async () => agent.attachNic(attached),
          { ...refused, field: `nic.${field}` },
          what,
        );
        assert.equal(text(), before, what);
      }
    }));

  const numbered = (count: number): NicDefinition[] =>
    Array.from({ length: count }, (_, index) => ({
      ...nic({ macAddress: macOf(index + 1), deviceName: `db${index}` }),
      nicId: `net${index}`,
    }));

  for (const [what, nics, expected] of [
    ["65 NICs", numbered(65), { code: "INVALID_ARGUMENT", field: "nics" }],
    [
      "two NICs of one id",
      numbered(2).map((one) => ({ ...one, nicId: "net0" })),
      { code: "INVALID_ARGUMENT", reason: "DUPLICATE", field: "nics[1].nic_id" },
    ],
    [
      "one device for two NICs",
      numbered(2).map((one, index) => ({
        ...nic({ macAddress: macOf(index + 1), deviceName: "db0" }),
        nicId: one.nicId,
      })),
      { code: "INVALID_ARGUMENT", reason: "DUPLICATE", field: "nics[1].tap_on_bridge.device_name" },
    ],
    [
      "a device that another guest has",
      [nic({ macAddress: macOf(1), deviceName: "web0" })],
      { code: "FAILED_PRECONDITION", reason: "DEVICE_IN_USE", field: "nics[0].tap_on_bridge.device_name" },
    ],
  ] as const) {
    it(what, () =>
      amongObstacles(async ({ agent }, text) => {
        const before = text();
        await assert.rejects(async () => agent.prepareNics(prepare("b1", [...nics], "db")), expected);
        assert.equal(text(), before);
      }),
    );
  }

  it("a 65th NIC, a device and an id that the guest has already", () =>
    amongObstacles(async ({ agent }, text) => {
      const attach = (one: NicDefinition) => async () =>
        agent.attachNic({ guestId: "db", instanceId: "b1", nic: one, validateOnly: false });
      const nics = numbered(65);
      const [first = nic(), another = nic()] = nics;
      const last = nics.pop() ?? first;
      await agent.prepareNics(prepare("b1", nics, "db"));
      const before = text();
      await assert.rejects(attach(last), { code: "INVALID_ARGUMENT", field: "nic" });
      await assert.rejects(attach({ ...first, macAddress: last.macAddress }), {
        code: "ALREADY_EXISTS",
        reason: "NIC_EXISTS",
        field: "nic.nic_id",
      });
      await agent.detachNic({ guestId: "db", instanceId: "b1", nicId: another.nicId });
      const without = text();
      await assert.rejects(attach({ ...first, nicId: "again", macAddress: last.macAddress }), {
        code: "INVALID_ARGUMENT",
        reason: "DUPLICATE",
        field: "nic.tap_on_bridge.device_name",
      });
      assert.equal(text(), without);
      assert.notEqual(without, before);
    }));
});
