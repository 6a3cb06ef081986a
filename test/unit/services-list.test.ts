import assert from "node:assert/strict";
import { test } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import { MigrationRole } from "../../proto/gen/switchover/v1/guest.ts";
import { Migration, MigrationMode, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { type ListMigrationsRequest, Standing } from "../../proto/gen/switchover/v1/migration_service.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import type { CommandPorts } from "../../services/switchoverctl/commands.ts";
import { Display } from "../../services/switchoverctl/display.ts";
import { list, watchList } from "../../services/switchoverctl/list.ts";
import { checkListValues, filterOf, LIST_SETTINGS } from "../../services/switchoverctl/list-settings.ts";
import { watchOpen } from "../../services/switchoverctl/watch-open.ts";

const NOW_MS = 1_795_456_900_000;

function valuesOf(...argv: readonly string[]) {
  const reading = readSettings(LIST_SETTINGS, argv, {});
  assert.ok(reading.t === "settings", JSON.stringify(reading));
  return reading.values;
}

test("the flags of list become a filter", () => {
  const filter = filterOf(
    valuesOf(
      ...["--guest", "web-7", "--from", "ha", "--phase", "post-copy-paused", "--phase", "FAILED"],
      ...["--open", "--label", "a=1=2", "--label", "b="],
    ),
    NOW_MS,
  );
  assert.deepEqual(filter, {
    guestId: "web-7",
    hostId: "ha",
    hostRole: MigrationRole.SOURCE,
    phases: [Phase.POST_COPY_PAUSED, Phase.FAILED],
    standing: Standing.OPEN,
    labels: { a: "1=2", b: "" },
    requestedAfterUnixUs: 0n,
  });
  assert.equal(filterOf(valuesOf("--to", "hb"), NOW_MS).hostRole, MigrationRole.DESTINATION);
  assert.equal(filterOf(valuesOf("--host", "hb"), NOW_MS).hostRole, MigrationRole.UNSPECIFIED);
});

test("since is a time, or so long ago", () => {
  const sinceUs = (text: string) => filterOf(valuesOf("--since", text), NOW_MS).requestedAfterUnixUs;
  assert.equal(sinceUs("2h"), BigInt(NOW_MS - 7_200_000) * 1_000n);
  assert.equal(sinceUs("1970-01-02T00:00:00Z"), 86_400_000_000n);
});

test("flags of list that can never be right are named", () => {
  for (const argv of [
    ["--phase", "gone"],
    ["--since", "yesterday"],
    ["--since", "12"],
    ["--label", "blue"],
    ["--label", "=blue"],
    ["--limit", "0"],
  ]) {
    const reading = readSettings(LIST_SETTINGS, argv, {});
    assert.deepEqual(reading.t === "faults" && reading.faults.map(({ name }) => name), [argv[0]]);
  }
  const names = checkListValues(
    valuesOf("--open", "--ended", "--host", "ha", "--to", "hb", "--watch", "--json"),
  );
  assert.deepEqual(
    names.map(({ name }) => name),
    ["--open", "--watch", "--host"],
  );
  assert.throws(() => filterOf(valuesOf("--label", "a=1", "--label", "a=2"), NOW_MS), { field: "--label" });
});

test("list turns pages until it has as many as were asked for", async () => {
  const asked: ListMigrationsRequest[] = [];
  let shown = "";
  const display = new Display({ write: (text) => (shown += text) }, "text");
  const one = Migration.create({
    migrationId: "web-7-mk3v0q8ya1z9",
    spec: { sourceHostId: "ha", destinationHostId: "hb", mode: MigrationMode.LIVE, labels: { team: "blue" } },
    phase: Phase.TRANSFERRING,
    requestedAtUnixUs: BigInt(NOW_MS) * 1_000n,
  });
  const client: Pick<CommandPorts["client"], "list"> = {
    list: async (request) => {
      asked.push(request);
      // A page may be short, or empty, and not be the last.
      const migrations = asked.length === 2 ? [] : Array.from({ length: 80 }, () => one);
      return { migrations, nextPageToken: `after-${asked.length}` };
    },
  };
  const ports = { client, display, signal: new AbortController().signal } as unknown as CommandPorts;
  assert.equal(await list(valuesOf("--limit", "150"), ports), 0);
  assert.deepEqual(
    asked.map(({ pageSize, pageToken }) => [pageSize, pageToken]),
    [
      [100, ""],
      [70, "after-1"],
      [70, "after-2"],
    ],
  );
  assert.equal(
    shown.split("\n")[1]?.replaceAll(/ +/g, " "),
    "web-7-mk3v0q8ya1z9 ha hb live 2026-11-23T18:01:40Z team=blue transferring",
  );
});

test("a watched list is shown anew, also after no coordinator answered, until the person goes", async () => {
  const leaving = new AbortController();
  const one = Migration.create({
    migrationId: "web-7-mk3v0q8ya1z9",
    phase: Phase.TRANSFERRING,
    progress: { transferredBytes: 1_048_576n, remainingBytes: 1_048_576n, totalBytes: 2_097_152n },
  });
  const answers = [[], new SwitchoverError("UNAVAILABLE", "Nobody is there.", { reason: "GRPC" }), [one]];
  const client: Pick<CommandPorts["client"], "list"> = {
    list: async () => {
      const answer = answers.shift();
      if (answer === undefined) assert.fail("It asks after the person went.");
      if (answer instanceof SwitchoverError) throw answer;
      if (answers.length === 0) leaving.abort();
      return { migrations: answer, nextPageToken: "" };
    },
  };
  const shown: string[] = [];
  const display = new Display({ isTTY: true, write: (text) => shown.push(text) }, "text");
  const ports = { client, display, signal: leaving.signal } as unknown as CommandPorts;
  assert.equal(await watchList(valuesOf("--watch"), ports, 1), 0);
  assert.equal(shown.length, 3);
  assert.ok(shown.every((text) => text.startsWith("\u001b[H\u001b[2J")));
  assert.match(shown[0] ?? "", /There are none/);
  assert.match(shown[1] ?? "", /No coordinator answers, trying on for 30 s: Nobody is there/);
  assert.match(shown[2] ?? "", /transferring +\[#{10}-{10}\] +50 % +1\.0 MiB sent +1\.0 of 2\.0 MiB to go/);
});

test("a watched list ends with a refusal", async () => {
  const refusal = new SwitchoverError("INVALID_ARGUMENT", "No.", { reason: "MALFORMED" });
  const client = { list: () => Promise.reject(refusal) };
  const display = new Display({ write: () => undefined }, "text");
  const ports = { client, display, signal: new AbortController().signal } as unknown as CommandPorts;
  await assert.rejects(watchList(valuesOf("--watch"), ports, 1), refusal);
});

/** A coordinator whose answers to list are these, one after the other; the person goes with the last one. */
function openOnes(answers: readonly (readonly Migration[])[], ended: Migration, form: "text" | "json") {
  const leaving = new AbortController();
  const left = [...answers];
  const client: Pick<CommandPorts["client"], "list" | "get"> = {
    list: async ({ filter }) => {
      assert.equal(filter?.standing, Standing.OPEN);
      const migrations = left.shift() ?? assert.fail("It asks after the person went.");
      if (left.length === 0) leaving.abort();
      return { migrations, nextPageToken: "" };
    },
    get: async (migrationId) => {
      assert.equal(migrationId, ended.migrationId);
      return ended;
    },
  };
  const shown: string[] = [];
  const display = new Display({ isTTY: true, write: (text) => shown.push(text) }, form);
  return { shown, ports: { client, display, signal: leaving.signal } as unknown as CommandPorts };
}

const OPEN_ONE = Migration.create({ migrationId: "web-7-mk3v0q8ya1z9", phase: Phase.TRANSFERRING });
const ENDED_ONE = Migration.create({ migrationId: "web-7-mk3v0q8ya1z9", phase: Phase.COMPLETED });

test("all open migrations are a table that is shown anew, with those that end meanwhile", async () => {
  const { shown, ports } = openOnes([[OPEN_ONE], [], []], ENDED_ONE, "text");
  assert.equal(await watchOpen("text", ports, 1), 0);
  assert.ok(shown.every((text) => text.startsWith("\u001b[H\u001b[2J")));
  const [first, second, third] = shown.map((text) => text.slice(7).trimEnd());
  assert.match(first ?? "", /^MIGRATION .*STATE\nweb-7-mk3v0q8ya1z9 .* transferring$/);
  assert.equal(second, "No migration is open.\n\nEnded meanwhile:\nweb-7-mk3v0q8ya1z9: completed");
  assert.equal(third, second);
});

test("as JSON each state of an open migration comes once, and its end", async () => {
  const { shown, ports } = openOnes([[OPEN_ONE], [OPEN_ONE], []], ENDED_ONE, "json");
  assert.equal(await watchOpen("json", ports, 1), 0);
  assert.deepEqual(
    shown.map((text) => (JSON.parse(text) as { phase: string }).phase),
    ["PHASE_TRANSFERRING", "PHASE_COMPLETED"],
  );
});

test("one that newer ones have taken the place of in the table is not told to have ended", async () => {
  const newer = Migration.create({ migrationId: "web-8-mk3v0q8ya1z9", phase: Phase.TRANSFERRING });
  const goesOn = Migration.create({ ...OPEN_ONE, phase: Phase.SWITCHING_OVER });
  const { shown, ports } = openOnes([[OPEN_ONE], [newer]], goesOn, "text");
  assert.equal(await watchOpen("text", ports, 1), 0);
  assert.doesNotMatch(shown[1] ?? "", /Ended meanwhile/);
});
