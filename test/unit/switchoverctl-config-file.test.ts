import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { defaultConfigPath } from "../../services/switchoverctl/connection-settings.ts";
import { ENVIRONMENT, newFolder, runToEnd } from "./program-process.ts";

const SHOW = ["show", "web-7-mk3v0q8ya1z9"];

async function fileWith(t: TestContext, text: string): Promise<string> {
  const path = join(await newFolder(t), "switchoverctl.yaml");
  await writeFile(path, text);
  return path;
}

describe("switchoverctl's configuration file", () => {
  it("says whom to ask, loses to the environment, and that to flags", async (t) => {
    // Nobody listens on these ports: the complaint names whom it asked.
    const path = await fileWith(
      t,
      "coordinator: 127.0.0.1:1\nagent: 127.0.0.1:2\nnats-url: nats://127.0.0.1:3\n",
    );
    const environment = { ...ENVIRONMENT, SWITCHOVER_COORDINATOR: "127.0.0.1:4" };
    const asked = async (args: readonly string[], env = ENVIRONMENT) => {
      const { code, stderr } = await runToEnd(t, "switchoverctl", [...args, "--config", path], env);
      assert.equal(code, 3, stderr);
      return /127\.0\.0\.1:\d/.exec(stderr)?.[0];
    };
    assert.equal(await asked(SHOW), "127.0.0.1:1");
    assert.equal(await asked(["orphans"]), "127.0.0.1:2");
    assert.equal(await asked(SHOW, environment), "127.0.0.1:4");
    assert.equal(await asked([...SHOW, "--coordinator", "127.0.0.1:5"], environment), "127.0.0.1:5");
  });

  it("is refused for what is no connection, with its line, and for what is wrong, with its key", async (t) => {
    const path = await fileWith(t, "guest: web-7\ncoordinator: nowhere\n");
    const { code, stderr } = await runToEnd(t, "switchoverctl", [...SHOW, "--config", path]);
    assert.equal(code, 2);
    assert.match(stderr, /line 1: "guest" is no setting\./);
    assert.match(
      stderr,
      /switchoverctl\.yaml: coordinator: "nowhere" is neither HOST:PORT nor unix:\/PATH\./,
    );
  });

  it("is found in a person's own place, and a server program's file is left alone", async (t) => {
    const folder = await newFolder(t);
    await mkdir(join(folder, ".config", "switchover"), { recursive: true });
    await writeFile(
      join(folder, ".config", "switchover", "switchoverctl.yaml"),
      "coordinator: 127.0.0.1:6\n",
    );
    const environment = { ...ENVIRONMENT, HOME: folder, SWITCHOVER_CONFIG: "/nowhere/agent.yaml" };
    const { code, stderr } = await runToEnd(t, "switchoverctl", SHOW, environment);
    assert.equal(code, 3);
    assert.match(stderr, /no coordinator answers at 127\.0\.0\.1:6/);
  });

  it("is a person's own before the machine's", () => {
    const own = "/home/me/.config/switchover/switchoverctl.yaml";
    const system = "/etc/switchover/switchoverctl.yaml";
    const placeOf = (environment: Record<string, string>, ...there: readonly string[]) =>
      defaultConfigPath(environment, (path) => there.includes(path));
    assert.equal(placeOf({ HOME: "/home/me" }, own, system), own);
    assert.equal(placeOf({ HOME: "/home/me" }, system), system);
    assert.equal(placeOf({ HOME: "/home/me" }), undefined);
    assert.equal(placeOf({}, own), undefined);
    assert.equal(
      placeOf({ HOME: "/home/me", XDG_CONFIG_HOME: "/x" }, own, "/x/switchover/switchoverctl.yaml"),
      "/x/switchover/switchoverctl.yaml",
    );
  });

  it("is in every command's help, and its default places in that of switchoverctl", async (t) => {
    for (const command of ["list", "orphans", "backup"]) {
      const { stdout } = await runToEnd(t, "switchoverctl", [command, "--help"]);
      assert.match(stdout, /--config PATH .*File of whom to ask, and how/);
    }
    const { stdout } = await runToEnd(t, "switchoverctl", ["--help"]);
    assert.match(
      stdout,
      /~\/\.config\/switchover\/switchoverctl\.yaml, else\n\/etc\/switchover\/switchoverctl\.yaml/,
    );
  });
});
