import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { SwitchoverError } from "../../proto/error.ts";
import { Migration, Outcome, Phase } from "../../proto/gen/switchover/v1/migration.ts";
import { Resolution } from "../../proto/gen/switchover/v1/migration_service.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import type { CommandPorts } from "../../services/switchoverctl/commands.ts";
import { confirm } from "../../services/switchoverctl/confirm.ts";
import { Display } from "../../services/switchoverctl/display.ts";
import {
  checkResolveValues,
  INTERVENTION_SETTINGS,
  type InterventionValues,
  RESOLVE_SETTINGS,
  type ResolveValues,
} from "../../services/switchoverctl/intervention-settings.ts";
import { cancel, pause, recover, resolve } from "../../services/switchoverctl/interventions.ts";

const ID = "web-7-mk3v0q8ya1z9";

function migrationIn(phase: Phase, outcome: Outcome = Outcome.UNSPECIFIED): Migration {
  const spec = { guestId: "web-7", sourceHostId: "ha", destinationHostId: "hb" };
  return Migration.create({ migrationId: ID, spec, phase, outcome });
}

/** A coordinator that answers with the first state and then shows the others to whoever watches. */
function coordinatorWith(states: readonly Migration[], answer: "confirmed" | "not confirmed" = "confirmed") {
  const calls: string[] = [];
  const statements: string[] = [];
  let shown = "";
  const call = async (text: string): Promise<Migration> => {
    calls.push(text);
    const [first] = states;
    assert.ok(first !== undefined);
    return first;
  };
  const ports: CommandPorts = {
    client: {
      start: () => call("start"),
      validate: () => assert.fail("nothing is validated in these tests"),
      drain: () => assert.fail("nothing is drained in these tests"),
      getDrain: () => assert.fail("nothing is drained in these tests"),
      cancelDrain: () => assert.fail("nothing is drained in these tests"),
      watchDrain: () => assert.fail("nothing is drained in these tests"),
      get: () => call("get"),
      list: () => assert.fail("not asked for"),
      getReceipt: () => assert.fail("not asked for"),
      listHosts: () => assert.fail("not asked for"),
      getHost: () => assert.fail("not asked for"),
      cancel: (id) => call(`cancel ${id}`),
      switchToPostCopy: (id) => call(`switchToPostCopy ${id}`),
      pause: (id) => call(`pause ${id}`),
      recover: (id) => call(`recover ${id}`),
      resolve: ({ deadHostIds, resolution }) => call(`resolve [${deadHostIds.join(" ")}] ${resolution}`),
      watch: async function* () {
        yield* states;
      },
      close() {},
    },
    display: new Display(
      {
        write: (text) => {
          shown += text;
        },
      },
      "text",
    ),
    signal: new AbortController().signal,
    confirm: async (statement) => {
      statements.push(statement);
      return answer === "confirmed";
    },
  };
  return { ports, calls, statements, shown: () => shown };
}

function valuesOf(...flags: string[]): InterventionValues {
  const reading = readSettings(INTERVENTION_SETTINGS, flags, {});
  assert.ok(reading.t === "settings");
  return reading.values;
}

function resolveValuesOf(...flags: string[]): ResolveValues {
  const reading = readSettings(RESOLVE_SETTINGS, flags, {});
  assert.ok(reading.t === "settings");
  return reading.values;
}

describe("switchoverctl cancel, pause and recover", () => {
  it("are done once they are stored, where nobody waits", async () => {
    const { ports, calls, shown } = coordinatorWith([migrationIn(Phase.CANCELLING)]);
    assert.equal(await cancel(valuesOf(), ID, ports), 0);
    assert.deepEqual(calls, [`cancel ${ID}`]);
    assert.match(shown(), /cancelling/);
  });

  it("tell with --wait whether the guest stayed", async () => {
    const ends: readonly (readonly [Phase, Outcome, number])[] = [
      [Phase.CANCELLED, Outcome.RUNS_ON_SOURCE, 0],
      [Phase.FAILED, Outcome.PAUSED_ON_SOURCE, 0],
      [Phase.COMPLETED, Outcome.RUNS_ON_DESTINATION, 1],
      [Phase.FAILED, Outcome.GUEST_LOST, 1],
    ];
    for (const [phase, outcome, exitCode] of ends) {
      const { ports } = coordinatorWith([migrationIn(Phase.CANCELLING), migrationIn(phase, outcome)]);
      assert.equal(await cancel(valuesOf("--wait"), ID, ports), exitCode);
    }
  });

  it("wait for the pause, or for the end of what was recovered", async () => {
    const paused = coordinatorWith([migrationIn(Phase.POST_COPY), migrationIn(Phase.POST_COPY_PAUSED)]);
    assert.equal(await pause(valuesOf("--wait"), ID, paused.ports), 0);
    const completed = migrationIn(Phase.COMPLETED, Outcome.RUNS_ON_DESTINATION);
    const missed = coordinatorWith([migrationIn(Phase.POST_COPY), completed]);
    assert.equal(await pause(valuesOf("--wait"), ID, missed.ports), 1);
    const recovered = coordinatorWith([migrationIn(Phase.POST_COPY_RECOVERING), completed]);
    assert.equal(await recover(valuesOf("--wait"), ID, recovered.ports), 0);
  });

  it("refuse what is no migration's id before anybody is asked", async () => {
    const { ports, calls } = coordinatorWith([migrationIn(Phase.POST_COPY)]);
    await assert.rejects(pause(valuesOf(), "web 7", ports), { field: "MIGRATION_ID" });
    assert.deepEqual(calls, []);
  });
});

describe("switchoverctl resolve", () => {
  it("has a statement confirmed that names the host, and sends the host's id", async () => {
    const { ports, calls, statements } = coordinatorWith([migrationIn(Phase.AMBIGUOUS)]);
    assert.equal(await resolve(resolveValuesOf("--source-dead"), ID, ports), 0);
    assert.match(statements.join(), /^Host ha is dead: .*the guest may run twice/);
    assert.deepEqual(calls, ["get", "resolve [ha] 0"]);
  });

  it("states nothing that was not confirmed", async () => {
    const { ports, calls } = coordinatorWith([migrationIn(Phase.AMBIGUOUS)], "not confirmed");
    for (const flag of ["--destination-dead", "--guest-lost"]) {
      await assert.rejects(
        resolve(resolveValuesOf(flag), ID, ports),
        (thrown) => SwitchoverError.from(thrown).reason === "NOT_CONFIRMED",
      );
    }
    assert.deepEqual(calls, ["get", "get"]);
  });

  it("asks nobody with --yes, nor for a resumption, which needs the destination's word all the same", async () => {
    const { ports, calls, statements } = coordinatorWith([migrationIn(Phase.AMBIGUOUS)]);
    await resolve(resolveValuesOf("--source-dead", "--destination-dead", "--guest-lost", "--yes"), ID, ports);
    await resolve(resolveValuesOf("--resume-source"), ID, ports);
    assert.deepEqual(statements, []);
    const sent = calls.filter((call) => call !== "get");
    assert.deepEqual(sent, [
      `resolve [ha hb] ${Resolution.GUEST_LOST}`,
      `resolve [] ${Resolution.RESUME_SOURCE}`,
    ]);
  });

  it("needs something to state, and nothing that contradicts itself", () => {
    const names = (...flags: string[]) =>
      checkResolveValues(resolveValuesOf(...flags)).map((fault) => fault.name);
    assert.deepEqual(names("--yes"), ["resolve"]);
    assert.deepEqual(names("--resume-source", "--source-dead"), ["--source-dead"]);
    assert.deepEqual(names("--resume-source", "--guest-lost"), ["--guest-lost"]);
    assert.deepEqual(names("--resume-source", "--destination-dead"), []);
    assert.deepEqual(names("--source-dead", "--destination-dead", "--guest-lost"), []);
    assert.deepEqual(names("--source-dead", "--guest-lost"), ["--guest-lost"]);
    assert.deepEqual(names("--destination-dead", "--guest-lost"), ["--guest-lost"]);
  });
});

describe("a confirmation", () => {
  async function answered(text: string | null, isTTY: boolean): Promise<boolean> {
    const input = Object.assign(new PassThrough(), { isTTY });
    const answer = confirm("Host ha is dead.", input, new PassThrough().resume());
    if (text === null) input.end();
    else input.write(`${text}\n`);
    return answer;
  }

  it("is a typed yes, and nothing else", async () => {
    assert.equal(await answered("yes", true), true);
    assert.equal(await answered("y", true), false);
    assert.equal(await answered(null, true), false);
  });

  it("is never taken from what is no terminal", async () => {
    assert.equal(await answered("yes", false), false);
  });
});
