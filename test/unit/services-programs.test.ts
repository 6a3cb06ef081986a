/** Needs node and nats-server only. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import {
  ENVIRONMENT,
  type LogLine,
  launch,
  logLine,
  newFolder,
  runToEnd,
  terminate,
} from "./program-process.ts";

function agentArgs(hostId: string, natsUrl: string, folder: string): readonly string[] {
  return [
    "--host-id",
    hostId,
    "--listen",
    "127.0.0.1:0",
    "--nats-url",
    natsUrl,
    "--state-dir",
    join(folder, hostId),
  ];
}

test("coordinator, agents and switchoverctl work together and end cleanly", async (t) => {
  const folder = await newFolder(t);
  const socket = `unix:${join(folder, "coordinator.sock")}`;
  const listen = ["--insecure-loopback", "--listen", "127.0.0.1:0", "--listen", socket];
  const nats = ["--nats-listen", "127.0.0.1:0", "--data-dir", join(folder, "coordinator")];
  const coordinator = launch(t, "coordinator", [...listen, ...nats]);
  const { targets, nats_url: natsUrl } = await logLine(coordinator, "The coordinator listens.");
  const [tcp] = targets as readonly string[];
  const agents = ["ha", "hb"].map((hostId) => launch(t, "agent", agentArgs(hostId, String(natsUrl), folder)));
  await Promise.all(agents.map((agent) => logLine(agent, "The host is in the host registry.")));

  const request = ["migrate", "--guest", "web-7", "--from", "ha", "--to", "hb", "--request-id", "r-1"];
  request.push("--label", "team=blue");
  const failed = await runToEnd(t, "switchoverctl", [
    ...request,
    "--wait",
    "--json",
    "--coordinator",
    socket,
  ]);
  assert.equal(failed.code, 1, failed.stderr);
  const states = failed.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, string>);
  assert.equal(states.at(-1)?.phase, "PHASE_FAILED");
  assert.equal(new Set(states.map((state) => JSON.stringify(state))).size, states.length, "none twice");
  const migrationId = states[0]?.migrationId ?? "";

  const environment = { ...ENVIRONMENT, SWITCHOVER_COORDINATOR: String(tcp) };
  const shown = await runToEnd(t, "switchoverctl", ["show", migrationId], environment);
  assert.equal(shown.code, 1, shown.stderr);
  assert.match(shown.stdout, /web-7: ha -> hb, live, failed/);
  const watched = await runToEnd(t, "switchoverctl", ["watch", migrationId], environment);
  assert.equal(watched.code, 1, watched.stderr);
  const listed = await runToEnd(
    t,
    "switchoverctl",
    ["list", "--host", "hb", "--phase", "failed", "--label", "team=blue", "--since", "1h"],
    environment,
  );
  assert.equal(listed.code, 0, listed.stderr);
  const [headings, row, ...others] = listed.stdout.trim().split("\n");
  assert.match(headings ?? "", /^MIGRATION +FROM +TO +MODE/);
  assert.match(row ?? "", new RegExp(`^${migrationId} +ha +hb +live +20.*Z +team=blue +failed, guest`));
  assert.deepEqual(others, []);
  const explained = await runToEnd(t, "switchoverctl", ["explain", migrationId], environment);
  assert.equal(explained.code, 0, explained.stderr);
  assert.match(
    explained.stdout,
    /web-7, ha -> hb, live, .* ago: failed, guest runs on source: .*\n {2}heard of +ha/,
  );
  const getMigration = ["call", "GetMigration", JSON.stringify({ migrationId }), "--json"];
  const called = await runToEnd(t, "switchoverctl", getMigration, environment);
  assert.equal(called.code, 0, called.stderr);
  const { migration } = JSON.parse(called.stdout) as { readonly migration: Record<string, string> };
  assert.deepEqual([migration.migrationId, migration.phase], [migrationId, "PHASE_FAILED"]);
  const [agentAt = ""] =
    (await runToEnd(t, "switchoverctl", ["host", "ha"], environment)).stdout.match(/127\.\S+/) ?? [];
  const agentServes = await runToEnd(t, "switchoverctl", ["describe", "--target", agentAt]);
  assert.match(agentServes.stdout, /^service switchover\.v1\.HostAgentService \{/);
  const receipt = await runToEnd(t, "switchoverctl", ["receipt", migrationId], environment);
  assert.equal(receipt.code, 0, receipt.stderr);
  assert.match(receipt.stdout, /request +r-1\n/);
  assert.match(receipt.stdout, /end +failed, guest runs on source\nreason +.* \[GUEST_UNKNOWN\]/);
  assert.match(receipt.stdout, /PHASE +MS +REASON\npending +\d+\.\d{3}/);
  const hosts = await runToEnd(t, "switchoverctl", ["hosts"], environment);
  assert.equal(hosts.code, 0, hosts.stderr);
  const hostRows = hosts.stdout.trim().split("\n");
  assert.match(hostRows[0] ?? "", /^HOST +AGENT AT +VERSION +HEARTBEAT +LACKS$/);
  for (const [index, hostId] of ["ha", "hb"].entries()) {
    assert.match(
      hostRows[index + 1] ?? "",
      new RegExp(`^${hostId} +127.0.0.1:\\d+ +\\S+ +\\d+\\.\\d s ago$`),
    );
  }
  const host = await runToEnd(t, "switchoverctl", ["host", "hb", "--json"], environment);
  const { capabilities } = JSON.parse(host.stdout) as { readonly capabilities: readonly string[] };
  assert.ok(capabilities.includes("rpc/ArmSource") && capabilities.includes("device/macvtap"));
  const backupFile = join(folder, "backup");
  const backup = await runToEnd(t, "switchoverctl", ["backup", backupFile, "--nats-url", String(natsUrl)]);
  assert.equal(backup.code, 0, backup.stderr);
  assert.match(backup.stdout, /^1 guests and 1 ended migrations are in /);
  const natsEnvironment = { ...ENVIRONMENT, SWITCHOVER_NATS_URL: String(natsUrl) };
  const restore = await runToEnd(t, "switchoverctl", ["restore", backupFile, "--yes"], natsEnvironment);
  assert.equal(restore.code, 1);
  assert.match(restore.stderr, /NATS_NOT_EMPTY/);
  const unknown = await runToEnd(t, "switchoverctl", [...request.slice(0, 5), "--to", "hx"], environment);
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /HOST_UNKNOWN/);
  const tooLate = await runToEnd(t, "switchoverctl", ["cancel", migrationId], environment);
  assert.equal(tooLate.code, 1);
  assert.match(tooLate.stderr, /MIGRATION_ENDED/);
  const unconfirmed = await runToEnd(
    t,
    "switchoverctl",
    ["resolve", migrationId, "--source-dead"],
    environment,
  );
  assert.equal(unconfirmed.code, 2);
  assert.match(unconfirmed.stderr, /--yes/);

  const rehearsed = ["migrate", "--dry-run", "--guest", "web-8", "--from", "ha"];
  const dryRun = await runToEnd(t, "switchoverctl", [...rehearsed, "--to", "hx"], environment);
  assert.equal(dryRun.code, 1);
  assert.match(dryRun.stdout, /ha, spec.guest_id: .*GUEST_UNKNOWN/);
  assert.match(dryRun.stdout, /hx, spec.destination_host_id: .*HOST_UNKNOWN/);

  const evacuation = ["drain", "--host", "ha", "--to", "hb", "--request-id", "d-1"];
  const drained = await runToEnd(t, "switchoverctl", [...evacuation, "--wait", "--json"], environment);
  assert.equal(drained.code, 0, drained.stderr);
  const last = JSON.parse(drained.stdout.trim().split("\n").at(-1) ?? "") as Record<string, string>;
  assert.equal(last.phase, "DRAIN_PHASE_DRAINED");
  const drainId = last.drainId ?? "";
  const shownDrain = await runToEnd(t, "switchoverctl", ["show-drain", drainId], environment);
  assert.equal(shownDrain.code, 0, shownDrain.stderr);
  assert.match(shownDrain.stdout, /^ha is drained, no guests/);
  const endedDrain = await runToEnd(t, "switchoverctl", ["cancel-drain", drainId], environment);
  assert.equal(endedDrain.code, 1);
  assert.match(endedDrain.stderr, /DRAIN_ENDED/);

  for (const agent of agents) assert.equal(await terminate(agent), 0);
  assert.equal(await terminate(coordinator), 0);
});

test("an agent serves its host while NATS is away", async (t) => {
  const agent = launch(t, "agent", agentArgs("ha", "nats://127.0.0.1:1", await newFolder(t)));
  await logLine(agent, "The agent listens.");
  assert.equal(await terminate(agent), 0);
});

test("a wrong configuration exits with 2 and names every fault", async (t) => {
  const args = ["--host-id", "not/an/id", "--listen", "nowhere", "--nats-url", "http://x"];
  const ended = await runToEnd(t, "agent", args);
  assert.equal(ended.code, 2);
  for (const flag of ["--host-id", "--listen", "--nats-url"]) assert.match(ended.stderr, new RegExp(flag));
});

test("a program that cannot start says why in one line and exits with 1", async (t) => {
  const folder = await newFolder(t);
  const environment = { ...ENVIRONMENT, PATH: folder };
  const ended = await runToEnd(
    t,
    "coordinator",
    ["--insecure-loopback", "--listen", "127.0.0.1:0", "--data-dir", folder],
    environment,
  );
  assert.equal(ended.code, 1);
  const last = JSON.parse(ended.stderr.trim().split("\n").at(-1) ?? "") as LogLine;
  assert.match(last.msg, /install nats-server, or give --nats-url\.$/);
});

test("switchoverctl tells silence, wrong flags and help apart by its exit code", async (t) => {
  const id = "web-7-mk3v0q8ya1z9";
  const silence = await runToEnd(t, "switchoverctl", ["show", id, "--coordinator", "127.0.0.1:1"]);
  assert.equal(silence.code, 3);
  assert.match(silence.stderr, /no coordinator answers at 127\.0\.0\.1:1/);
  assert.equal((await runToEnd(t, "switchoverctl", ["migrate", "--guest", "x"])).code, 2);
  assert.equal((await runToEnd(t, "switchoverctl", ["destroy"])).code, 2);
  assert.equal((await runToEnd(t, "switchoverctl", ["show"])).code, 2);
  for (const args of [
    ["--help"],
    ["migrate", "--help"],
    ["show", "--help"],
    ["watch", "--help"],
    ["list", "--help"],
  ]) {
    const help = await runToEnd(t, "switchoverctl", args);
    assert.equal(help.code, 0);
    assert.match(help.stdout, /Example/);
  }
});

test("switchoverctl ends without a word once nobody reads what it prints, as head does", async (t) => {
  const child = launch(t, "switchoverctl", ["--help"]);
  child.stdout?.destroy();
  let stderr = "";
  child.stderr?.on("data", (part) => (stderr += String(part)));
  assert.deepEqual(await once(child, "close"), [141, null]);
  assert.equal(stderr, "");
});

test("switchoverctl watch says at once that nobody answers, for how long it tries on, and that it was left", {
  timeout: 20_000,
}, async (t) => {
  const args = ["web-7-mk3v0q8ya1z9", "--json", "--coordinator", "127.0.0.1:1"];
  const child = launch(t, "switchoverctl", ["watch", ...args]);
  const closed = once(child, "close");
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (part) => (stdout += String(part)));
  for await (const part of child.stderr ?? []) {
    stderr += String(part);
    if (!stderr.endsWith("\n")) continue;
    // A second retry would have told it a second time by now.
    setTimeout(() => child.kill("SIGINT"), 1_500);
  }
  const [note, end] = stderr.trimEnd().split("\n");
  assert.match(
    note ?? "",
    /^switchoverctl: no coordinator answers at 127\.0\.0\.1:1, trying on for 30 s: .*ECONNREFUSED.* \[UNAVAILABLE, /,
  );
  assert.match(end ?? "", /^switchoverctl: no longer watching/);
  assert.deepEqual(await closed, [130, null]);
  assert.equal(stdout, "");
  for (const command of ["watch", "migrate", "cancel"]) {
    const { stdout: help } = await runToEnd(t, "switchoverctl", [command, "--help"]);
    assert.match(help, /for 30 s/, command);
  }
});
