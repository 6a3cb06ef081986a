import assert from "node:assert/strict";
import { test } from "node:test";
import { invalidArgument } from "../../proto/error.ts";
import { AGENT_SETTINGS, AGENT_USAGE, checkAgentValues } from "../../services/agent/settings.ts";
import {
  parseAddressAndPort,
  parseBytes,
  parseNatsUrl,
  parseTarget,
  parseWhole,
} from "../../services/config/parsers.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import { onOff, optional, repeated, required, withDefault } from "../../services/config/setting.ts";
import { usage } from "../../services/config/usage.ts";
import { withoutCredentials } from "../../services/log/without-credentials.ts";

const words = { placeholder: "X", help: "" };
const settings = {
  guest: required((text) => text, words),
  port: withDefault(parseWhole(1, 100), "7", words),
  listen: repeated(parseTarget, "127.0.0.1:1", words),
  label: optional((text) => text, "none", words),
  json: onOff("JSON"),
};

function faultsOf(argv: readonly string[], environment: Record<string, string> = {}): readonly string[] {
  const reading = readSettings(settings, argv, environment);
  assert.equal(reading.t, "faults");
  return reading.t === "faults" ? reading.faults.map(({ name }) => name) : [];
}

test("defaults stand in for what was not given", () => {
  const reading = readSettings(settings, ["--guest", "web-7"], {});
  assert.ok(reading.t === "settings");
  assert.deepEqual(reading.values, {
    guest: "web-7",
    port: 7,
    listen: ["127.0.0.1:1"],
    label: undefined,
    json: "off",
  });
});

test("a flag wins over the environment, the environment over the default", () => {
  const environment = { SWITCHOVER_GUEST: "env", SWITCHOVER_PORT: "8", SWITCHOVER_LISTEN: "a:1, unix:/b" };
  const reading = readSettings(settings, ["--guest=flag", "--json"], environment);
  assert.ok(reading.t === "settings");
  const { guest, port, listen, json } = reading.values;
  assert.deepEqual([guest, port, listen, json], ["flag", 8, ["a:1", "unix:/b"], "on"]);
});

test("a repeated flag keeps every value, in order", () => {
  const reading = readSettings(settings, ["--guest", "g", "--listen", "a:1", "--listen", "b:2"], {});
  assert.ok(reading.t === "settings");
  assert.deepEqual(reading.values.listen, ["a:1", "b:2"]);
});

test("all faults are reported at once, with the names that were used", () => {
  const argv = ["--port", "900", "--listen", "nowhere", "--bogus", "--json=yes"];
  const faults = faultsOf(argv, { SWITCHOVER_GUEST: "" });
  assert.deepEqual(new Set(faults), new Set(["--port", "--listen", "--bogus", "--json", "--guest"]));
});

test("a fault of the environment names the variable", () => {
  assert.deepEqual(faultsOf(["--guest", "g"], { SWITCHOVER_PORT: "x" }), ["SWITCHOVER_PORT"]);
});

test("a flag without its value, a flag given twice and a surplus word are faults", () => {
  assert.deepEqual(faultsOf(["--guest", "g", "--port"]), ["--port"]);
  assert.deepEqual(faultsOf(["--guest", "g", "--guest", "h"]), ["--guest"]);
  assert.deepEqual(faultsOf(["--guest", "g", "word"]), ["word"]);
});

test("--help wins over every fault", () => {
  assert.equal(readSettings(settings, ["--port", "x", "--help"], {}).t, "help");
  assert.equal(readSettings(settings, ["-h"], {}).t, "help");
});

test("help names every flag and shows examples", () => {
  const text = usage(AGENT_USAGE, AGENT_SETTINGS);
  for (const name of Object.keys(AGENT_SETTINGS)) assert.ok(text.includes(`--${name} `), name);
  for (const example of AGENT_USAGE.examples) assert.ok(text.includes(example), example);
});

const TLS = ["--tls-cert", "/c", "--tls-key", "/k", "--tls-ca", "/a", "--migration-tls-dir", "/m"];

test("an agent that listens on every address must say where it is reached", () => {
  const faultNames = (argv: readonly string[]): readonly string[] => {
    const reading = readSettings(AGENT_SETTINGS, ["--host-id", "ha", ...argv, ...TLS], {});
    assert.ok(reading.t === "settings");
    return checkAgentValues(reading.values).map(({ name }) => name);
  };
  assert.deepEqual(faultNames(["--listen", "0.0.0.0:7443"]), ["--advertise"]);
  assert.deepEqual(faultNames(["--listen", "[::]:7443", "--advertise", "10.0.0.1:7443"]), []);
  assert.deepEqual(faultNames(["--migration-address", "0.0.0.0"]), ["--migration-address"]);
});

test("announcements are everybody's, or the VMMs' alone", () => {
  const read = (...argv: readonly string[]) => readSettings(AGENT_SETTINGS, ["--host-id", "ha", ...argv], {});
  const readings = [read(), read("--announcements", "vmm")];
  assert.deepEqual(
    readings.map((reading) => reading.t === "settings" && reading.values.announcements),
    ["all", "vmm"],
  );
  assert.equal(read("--announcements", "none").t, "faults");
});

test("guests stay registered for pauses, and not for a switchover, a shutdown or what nobody knows", () => {
  const read = (pauses: string) => readSettings(AGENT_SETTINGS, ["--stay-registered-for", pauses], {});
  const reading = read("paused, io-error");
  assert.ok(reading.t === "settings");
  assert.deepEqual(reading.values["stay-registered-for"], ["paused", "io-error"]);
  for (const pauses of ["finish-migrate", "postmigrate", "shutdown", "prelaunch", "paused,", "pause"]) {
    const refused = read(pauses);
    assert.ok(refused.t === "faults", pauses);
    assert.deepEqual(
      refused.faults.map(({ name }) => name),
      ["--stay-registered-for"],
    );
  }
});

test("targets are host and port, or a unix socket with an absolute path", () => {
  for (const text of ["127.0.0.1:0", "[::1]:7440", "ha.example:65535", "unix:/run/x.sock"]) {
    assert.equal(parseTarget(text, "f"), text);
  }
  for (const text of ["", "host", "host:", ":80", "host:65536", "::1:80", "unix:x", "http://a:1", "a b:1"]) {
    assert.throws(() => parseTarget(text, "f"), { code: "INVALID_ARGUMENT", field: "f" }, text);
  }
});

test("addresses with an optional port are read", () => {
  assert.deepEqual(parseAddressAndPort("10.0.0.1", "f"), { address: "10.0.0.1", port: 4222 });
  assert.deepEqual(parseAddressAndPort("10.0.0.1:0", "f"), { address: "10.0.0.1", port: 0 });
  assert.deepEqual(parseAddressAndPort("[::1]:5", "f"), { address: "::1", port: 5 });
  assert.deepEqual(parseAddressAndPort("::1", "f"), { address: "::1", port: 4222 });
  assert.throws(() => parseAddressAndPort("name:5", "f"), { code: "INVALID_ARGUMENT" });
});

test("bytes are digits with K, M or G", () => {
  assert.deepEqual(
    [parseBytes("5", "f"), parseBytes("30M", "f"), parseBytes("1G", "f")],
    [5n, 30n << 20n, 1n << 30n],
  );
  for (const text of ["", "M", "1.5M", "-1", "1T"]) assert.throws(() => parseBytes(text, "f"), text);
});

test("NATS addresses may be several, and no log shows their passwords", () => {
  const url = "nats://user:pass@10.0.0.1:4222,nats://10.0.0.2:4222";
  assert.equal(parseNatsUrl(url, "f"), url);
  assert.equal(withoutCredentials(url), "nats://***@10.0.0.1:4222,nats://10.0.0.2:4222");
  for (const text of ["", "10.0.0.1", "http://x:1", "nats://"])
    assert.throws(() => parseNatsUrl(text, "f"), text);
});

test("a parser's sentence always names the flag", () => {
  const strict = {
    id: required(() => {
      throw invalidArgument("id", "That is not an id.");
    }, words),
  };
  const reading = readSettings(strict, ["--id", "?"], {});
  assert.ok(reading.t === "faults");
  assert.deepEqual(reading.faults, [{ name: "--id", sentence: "--id: That is not an id." }]);
});
