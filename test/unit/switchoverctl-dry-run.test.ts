import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Migration } from "../../proto/gen/switchover/v1/migration.ts";
import type { StartMigrationRequest, StartRefusal } from "../../proto/gen/switchover/v1/migration_service.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import { type CommandPorts, migrate } from "../../services/switchoverctl/commands.ts";
import { Display } from "../../services/switchoverctl/display.ts";
import { checkMigrateValues, MIGRATE_SETTINGS } from "../../services/switchoverctl/migrate-settings.ts";

const REFUSAL: StartRefusal = {
  code: "FAILED_PRECONDITION",
  reason: "MAC_IN_USE",
  sentence: "Device web1 has that MAC.",
  field: "nics[0].mac_address",
  hostId: "hb",
};

function valuesOf(...flags: string[]) {
  const route = ["--guest", "web-7", "--from", "ha", "--to", "hb", "--dry-run", ...flags];
  const reading = readSettings(MIGRATE_SETTINGS, route, {});
  assert.ok(reading.t === "settings");
  return reading.values;
}

async function dryRun(refusals: readonly StartRefusal[], form: "text" | "json") {
  let shown = "";
  const asked: StartMigrationRequest[] = [];
  const screen = { write: (text: string) => (shown += text) };
  const client = {
    validate: async (request: StartMigrationRequest) => {
      asked.push(request);
      return { migration: undefined, refusals: [...refusals] };
    },
    start: () => assert.fail("a dry run starts nothing"),
  };
  const ports = { client, display: new Display(screen, form) } as unknown as CommandPorts;
  return { exitCode: await migrate(valuesOf(), ports), shown, asked };
}

describe("switchoverctl migrate --dry-run", () => {
  it("exits with 0 where nothing refuses, and says so", async () => {
    const { exitCode, shown, asked } = await dryRun([], "text");
    assert.equal(exitCode, 0);
    assert.equal(shown, "Nothing refuses it.\n");
    assert.equal(asked[0]?.spec?.guestId, "web-7");
  });

  it("exits with 1 and tells each refusal with its host, field, code and reason", async () => {
    const { exitCode, shown } = await dryRun([REFUSAL, { ...REFUSAL, field: "", hostId: "" }], "text");
    assert.equal(exitCode, 1);
    assert.deepEqual(shown.split("\n"), [
      "hb, nics[0].mac_address: Device web1 has that MAC. [FAILED_PRECONDITION, MAC_IN_USE]",
      "Device web1 has that MAC. [FAILED_PRECONDITION, MAC_IN_USE]",
      "",
    ]);
  });

  it("prints one JSON object with --json", async () => {
    const { shown } = await dryRun([REFUSAL], "json");
    assert.deepEqual(JSON.parse(shown), { refusals: [REFUSAL] });
  });

  it("is the only one that is in no trace: a migration is in that of whoever runs the command", async () => {
    const asked: unknown[] = [];
    const client = {
      start: async (_request: StartMigrationRequest, trace: unknown) => {
        asked.push(trace);
        return Migration.create({ migrationId: "web-7-mk3v0q8ya1z9" });
      },
    };
    const display = new Display({ write: () => true }, "text");
    const trace = {
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      tracestate: "rojo=1",
    };
    const ports = { client, display, trace } as unknown as CommandPorts;
    await migrate({ ...valuesOf(), "dry-run": "off" }, ports);
    assert.deepEqual(asked, [trace]);
  });

  it("has nothing to wait for", () => {
    const [fault] = checkMigrateValues(valuesOf("--wait"));
    assert.equal(fault?.name, "--wait");
  });
});
