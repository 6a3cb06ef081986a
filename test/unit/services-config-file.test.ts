import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { parseConfigFile, readConfigFile } from "../../services/config/config-file.ts";
import { parseTarget, parseWhole } from "../../services/config/parsers.ts";
import { PROGRAM_SETTINGS } from "../../services/config/program-settings.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import { onOff, optional, repeated, withDefault } from "../../services/config/setting.ts";
import { ENVIRONMENT, newFolder, runToEnd } from "./program-process.ts";

const words = { placeholder: "X", help: "" };
const OWN = {
  port: withDefault(parseWhole(1, 100), "7", words),
  listen: repeated(parseTarget, "127.0.0.1:1", words),
  label: optional((text) => text, "none", words),
  loud: onOff(""),
};
const ALL = { ...OWN, ...PROGRAM_SETTINGS };
const PATH = "/etc/x.yaml";

function read(text: string, argv: readonly string[] = [], environment: Record<string, string> = {}) {
  return readSettings(ALL, ["--config", PATH, ...argv], environment, 0, (path) =>
    parseConfigFile(path, text, OWN),
  );
}

function valuesOf(...asked: Parameters<typeof read>) {
  const reading = read(...asked);
  assert.ok(reading.t === "settings", JSON.stringify(reading));
  const { port, listen, label, loud } = reading.values;
  return { port, listen, label, loud };
}

function sentencesOf(...asked: Parameters<typeof read>): readonly string[] {
  const reading = read(...asked);
  assert.ok(reading.t === "faults");
  return reading.faults.map(({ sentence }) => sentence);
}

describe("a configuration file", () => {
  const text = "port: 8\nlisten: [a:1, unix:/b]\nlabel: no\nloud: true\n";
  const values = { port: 8, listen: ["a:1", "unix:/b"], label: "no", loud: "on" };

  it("gives settings as they are written, in YAML or JSON", () => {
    assert.deepEqual(valuesOf(text), values);
    const json = { port: 8, listen: ["a:1", "unix:/b"], label: "no", loud: true };
    assert.deepEqual(valuesOf(JSON.stringify(json)), values);
    assert.deepEqual(valuesOf("loud: false\nlisten: a:1"), {
      port: 7,
      listen: ["a:1"],
      label: undefined,
      loud: "off",
    });
    assert.equal(valuesOf("# nothing\n").port, 7);
  });

  it("loses to the environment, and that to flags, setting by setting", () => {
    const environment = { SWITCHOVER_PORT: "9", SWITCHOVER_LISTEN: "c:1" };
    assert.deepEqual(valuesOf(text, ["--port", "10"], environment), { ...values, port: 10, listen: ["c:1"] });
    assert.deepEqual(valuesOf(text, ["--listen", "d:1"]).listen, ["d:1"]);
  });

  it("is named by the environment too", () => {
    const reading = readSettings(ALL, [], { SWITCHOVER_CONFIG: PATH }, 0, (path) =>
      parseConfigFile(path, text, OWN),
    );
    assert.ok(reading.t === "settings");
    assert.deepEqual([reading.values.port, reading.values.config], [8, PATH]);
  });

  it("tells all its faults with their lines, beside those of flags and environment", () => {
    const wrong = "port: 900\nprot: 1\nlisten: nowhere\nlabel: [a]\nloud: yes\nconfig: /etc/other.yaml\n";
    assert.deepEqual(sentencesOf(wrong, ["--bogus"], { SWITCHOVER_LABEL: "" }), [
      "--bogus is not a flag; see --help.",
      `${PATH}, line 2: "prot" is no setting.`,
      `${PATH}, line 4: "label" takes one value, not a list.`,
      `${PATH}, line 5: "loud" is true or false.`,
      `${PATH}, line 6: "config" is no setting.`,
      `${PATH}: port: "900" is not a whole number from 1 to 100.`,
      `${PATH}: listen: "nowhere" is neither HOST:PORT nor unix:/PATH.`,
    ]);
  });

  it("is refused where a key comes twice, has no value, or it is no map", () => {
    assert.match(sentencesOf("port: 8\nport: 9\n").join(), /line 2: Map keys must be unique/);
    assert.deepEqual(sentencesOf("port:\n"), [`${PATH}, line 1: "port" has no value.`]);
    assert.deepEqual(sentencesOf("port: {a: 1}\n"), [`${PATH}, line 1: "port" takes a value, not a map.`]);
    assert.deepEqual(sentencesOf("listen: []\n"), [`${PATH}, line 1: "listen" needs values.`]);
    assert.deepEqual(sentencesOf("- port\n"), [`${PATH}, line 1: It must be one map of settings.`]);
    assert.match(sentencesOf("port: 'x\n").join(), /line 1|line 2/);
  });

  it("that cannot be read is a fault", () => {
    const { faults } = readConfigFile("/nonexistent/x.yaml", OWN);
    assert.match(faults[0]?.sentence ?? "", /^\/nonexistent\/x\.yaml cannot be read: ENOENT/);
    assert.match(readConfigFile("/", OWN).faults[0]?.sentence ?? "", /EISDIR/);
  });
});

describe("a program with a configuration file", () => {
  it("checks it, prints what is in effect without secrets, and ends with 0", async (t) => {
    const path = join(await newFolder(t), "coordinator.yaml");
    await writeFile(path, "nats-url: nats://me:secret@10.0.0.1:4222\nnats-replicas: 3\ncoordinator-id: c1\n");
    const environment = { ...ENVIRONMENT, SWITCHOVER_LOG_LEVEL: "warn" };
    const flags = ["--check-config", "--config", path, "--coordinator-id", "c2"];
    const ended = await runToEnd(t, "coordinator", flags, environment);
    assert.equal(ended.code, 0, ended.stderr);
    assert.doesNotMatch(ended.stdout + ended.stderr, /secret/);
    const shown = JSON.parse(ended.stdout) as Record<string, unknown>;
    assert.equal(shown["nats-url"], "nats://***@10.0.0.1:4222");
    assert.deepEqual(
      [shown["nats-replicas"], shown["coordinator-id"], shown["log-level"]],
      [3, "c2", "warn"],
    );
  });

  it("ends with 2 and names every fault, those too that show only together", async (t) => {
    const path = join(await newFolder(t), "agent.json");
    await writeFile(path, '{"host-id": "not/an/id", "lisen": "x"}');
    const ended = await runToEnd(t, "agent", ["--check-config", "--config", path]);
    assert.equal(ended.code, 2);
    assert.match(ended.stderr, /agent\.json, line 1: "lisen" is no setting/);
    assert.match(ended.stderr, /agent\.json: host-id: .*is not a host id/);
    await writeFile(path, '{"host-id": "ha", "listen": "0.0.0.0:7443"}');
    const unreachable = await runToEnd(t, "agent", ["--check-config", "--config", path]);
    assert.equal(unreachable.code, 2);
    assert.match(unreachable.stderr, /--advertise is required/);
  });
});
