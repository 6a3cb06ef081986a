/** The programs with certificates, as an operator runs them; and what they refuse to start with. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import { AGENT_SETTINGS, checkAgentValues } from "../../services/agent/settings.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import { closeSecurity, openSecurity } from "../../services/tls/tls-settings.ts";
import { skipWithout } from "../resource.ts";
import { TrialPki } from "../trial-pki.ts";
import { launch, logLine, newFolder, runToEnd, terminate } from "./program-process.ts";

/** Nothing about TLS. */
const BARE = { PATH: process.env.PATH ?? "", SWITCHOVER_INSECURE_LOOPBACK: "" };

describe("the programs with certificates", { skip: skipWithout("natsServer"), timeout: 110_000 }, () => {
  test("find each other, serve whom they may, and take a renewed certificate without a restart", async (t) => {
    const folder = await newFolder(t);
    const pki = await TrialPki.make(join(folder, "pki"));
    await pki.issue("coordinator", "c1");
    for (const host of ["ha", "hb"]) await pki.issue("agent", host);
    await pki.issue("operator", "ann");
    await pki.issue("observer", "dash");
    const listen = ["--coordinator-id", "c1", "--listen", "127.0.0.1:0", ...pki.flagsOf("coordinator", "c1")];
    const nats = ["--nats-listen", "127.0.0.1:0", "--data-dir", join(folder, "coordinator")];
    const coordinator = launch(t, "coordinator", [...listen, ...nats], BARE);
    const { targets, nats_url: natsUrl } = await logLine(coordinator, "The coordinator listens.");
    const [target = ""] = targets as readonly string[];
    const agentFlags = (host: string) => [
      ...["--host-id", host, "--listen", "127.0.0.1:0", "--nats-url", String(natsUrl)],
      ...["--state-dir", join(folder, host), "--cpu-priority", "normal", "--expedite-rcu", "never"],
      ...["--plaintext-migration", ...pki.flagsOf("agent", host)],
    ];
    const agent = launch(t, "agent", agentFlags("ha"), BARE);
    await logLine(agent, "The host is in the host registry.");

    const ctl = (role: "operator" | "observer", name: string, ...args: readonly string[]) =>
      runToEnd(t, "switchoverctl", [...args, "--coordinator", target, ...pki.flagsOf(role, name)], BARE);
    const hosts = await ctl("operator", "ann", "hosts");
    assert.deepEqual([hosts.code, /^ha /m.test(hosts.stdout)], [0, true], hosts.stderr);
    // A rehearsal has the coordinator ask the agent.
    const rehearsal = ["migrate", "--guest", "web", "--from", "ha", "--to", "hb", "--dry-run"];
    const rehearsed = await ctl("operator", "ann", ...rehearsal);
    assert.match(rehearsed.stdout + rehearsed.stderr, /GUEST_UNKNOWN|HOST_UNKNOWN/);
    const refused = await ctl("observer", "dash", "cancel", "web-mk3v0q8ya1z9");
    assert.deepEqual([refused.code, /\[PERMISSION_DENIED, ROLE_MAY_NOT\]/.test(refused.stderr)], [1, true]);

    const renewed = logLine(agent, "New connections use the certificate that was put in place.");
    await pki.run("renew", "--within-days", "9999");
    assert.equal((await renewed).identity, "spiffe://switchover.test/agent/ha");
    assert.equal((await ctl("operator", "ann", "hosts")).code, 0);
    for (const program of [agent, coordinator]) assert.equal(await terminate(program), 0);
  });

  test("do not start, nor ask anybody, without being told how", async (t) => {
    const state = ["--state-dir", join(await newFolder(t), "state"), "--nats-url", "nats://127.0.0.1:1"];
    for (const [program, args] of [
      ["agent", ["--host-id", "hx", ...state]],
      ["coordinator", []],
      ["switchoverctl", ["hosts"]],
    ] as const) {
      const { code, stderr } = await runToEnd(t, program, args, BARE);
      assert.equal(code, 2, `${program}: ${stderr}`);
      assert.match(stderr, /--tls-cert, --tls-key and --tls-ca are required; or --insecure-loopback/);
    }
    const far = ["hosts", "--insecure-loopback", "--coordinator", "10.0.0.9:7440"];
    const { code, stderr } = await runToEnd(t, "switchoverctl", far, BARE);
    assert.deepEqual([code, /--coordinator: 10\.0\.0\.9:7440 is not/.test(stderr)], [2, true], stderr);
  });
});

test("an agent's certificates and addresses are checked together, and each fault names its flag", async (t) => {
  const folder = await newFolder(t);
  const pki = await TrialPki.make(join(folder, "pki"));
  const { cert, key } = await pki.issue("agent", "hx");
  await pki.issue("observer", "dash");
  const garbled = join(folder, "garbled.pem");
  writeFileSync(garbled, "no certificate\n");
  const own = pki.flagsOf("agent", "hx");
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const faultsOf = (...argv: readonly string[]): string => {
    const reading = readSettings(AGENT_SETTINGS, ["--host-id", "hx", "--plaintext-migration", ...argv], {});
    if (reading.t !== "settings") return JSON.stringify(reading);
    const faults = checkAgentValues(reading.values);
    if (faults.length > 0) return faults.map(({ sentence }) => sentence).join("\n");
    const name = reading.values["host-id"];
    try {
      closeSecurity(openSecurity(reading.values, { roles: ["agent"], name }, log));
      return "";
    } catch (thrown) {
      return SwitchoverError.from(thrown).message;
    }
  };
  assert.equal(faultsOf(...own, "--listen", "10.0.0.1:7443"), "");
  assert.equal(faultsOf("--insecure-loopback", "--listen", "[::1]:7443"), "");
  for (const [argv, words] of [
    [["--tls-cert", cert], /^--tls-key is required.*\n--tls-ca is required/],
    [
      ["--insecure-loopback", "--listen", "10.0.0.1:7443"],
      /^--listen: 10\.0\.0\.1:7443 is not on this host alone/,
    ],
    [["--insecure-loopback", "--advertise", "ha.example:7443"], /^--advertise: ha\.example:7443 is not/],
    [["--insecure-loopback", ...own], /exclude each other/],
    [
      pki.flagsOf("observer", "dash"),
      /^--tls-cert: .* is that of spiffe:.*\/observer\/dash, not of agent\/hx/,
    ],
    [["--tls-cert", cert, "--tls-key", key, "--tls-ca", garbled], /^--tls-ca: .* has no certificate/],
    [["--tls-cert", cert, "--tls-key", "/nowhere", "--tls-ca", garbled], /^--tls-key: .* cannot be read/],
  ] as const) {
    assert.match(faultsOf(...argv), words);
  }
});
