import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { OPEN_DOOR } from "../../coordinator/admission/admission-port.ts";
import { DrainingHosts } from "../../coordinator/drain/draining-hosts.ts";
import { MigrationApi } from "../../coordinator/migration-api.ts";
import type { AgentPort } from "../../coordinator/runner/agent-port.ts";
import { MigrationRunner } from "../../coordinator/runner/migration-runner.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import { type GivenTrace, traceOfMigration } from "../../proto/trace-context.ts";
import { MigrationTraces } from "../../services/trace/migration-traces.ts";
import { specOf } from "./coordinator-story.ts";
import { World } from "./coordinator-world.ts";

const GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ANOTHER = GIVEN.replace("4bf", "5bf");

/** A coordinator among agents that note in which trace each call reaches them. */
class TracedCoordinator {
  readonly traces = new MigrationTraces();
  readonly called = new Map<string, Set<string | undefined>>();
  readonly states = new Set<string | undefined>();
  readonly api: MigrationApi;
  readonly runner: MigrationRunner;

  constructor(t: TestContext, world: World) {
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const { clock, feed, fencing, store } = world;
    const agents = this.#witnessed(world.hosts);
    const ports = { clock, store, feed, agents, fencing, admission: OPEN_DOOR, log };
    this.runner = new MigrationRunner({ ...ports, traces: this.traces });
    t.after(() => this.runner.close());
    this.api = new MigrationApi({
      ...ports,
      random: () => 0.5,
      hosts: { get: async () => HostRecord.create({ version: "0.1.0" }) },
      runner: this.runner,
      draining: new DrainingHosts(),
      moveBudget: null,
    });
  }

  async start(traceparent?: string): Promise<string> {
    const asked = { requestId: "r1", spec: specOf(), validateOnly: false };
    const trace = traceparent === undefined ? undefined : { traceparent };
    return (await this.api.startMigration(asked, { trace })).migration?.migrationId ?? "";
  }

  #witnessed(agents: AgentPort): AgentPort {
    return new Proxy(agents, {
      get: (target, name: keyof AgentPort) => {
        const method = target[name] as (...args: unknown[]) => unknown;
        return (...args: unknown[]) => {
          const last = args.at(-1) as GivenTrace | { readonly trace?: GivenTrace };
          const { traceparent, tracestate } =
            ("trace" in last ? last.trace : (last as GivenTrace | undefined)) ?? {};
          this.states.add(tracestate);
          this.called.set(name, (this.called.get(name) ?? new Set()).add(traceparent));
          return method.apply(target, args);
        };
      },
    });
  }
}

function openWorld(t: TestContext): World {
  const world = new World();
  t.after(() => world.close());
  world.hosts.moves = "at once";
  return world;
}

const CALLS = ["preflight", "prepareDestination", "armSource", "beginTransfer", "follow", "releaseSource"];

describe("a migration's trace", () => {
  it("is its caller's: every call to an agent and every phase in the feed is in it", async (t) => {
    const world = openWorld(t);
    const coordinator = new TracedCoordinator(t, world);
    const migrationId = await coordinator.start(GIVEN);
    await world.untilArchived("web-7");
    const { traceparent } = traceOfMigration(migrationId, { traceparent: GIVEN });
    for (const name of CALLS)
      assert.deepEqual([...(coordinator.called.get(name) ?? [])], [traceparent], name);
    assert.ok(world.feed.events.length >= 5);
    for (const event of world.feed.events) assert.equal(event.traceparent, GIVEN);
    assert.equal(coordinator.traces.givenFor(migrationId)?.traceparent, GIVEN);
  });

  it("follows from the migration's id where its caller gave none", async (t) => {
    const world = openWorld(t);
    const coordinator = new TracedCoordinator(t, world);
    const migrationId = await coordinator.start();
    await world.untilArchived("web-7");
    const { traceparent } = traceOfMigration(migrationId);
    for (const name of CALLS)
      assert.deepEqual([...(coordinator.called.get(name) ?? [])], [traceparent], name);
    for (const event of world.feed.events) assert.equal(event.traceparent, undefined);
  });

  it("brings its caller's tracestate to every call and event, unchanged", async (t) => {
    const world = openWorld(t);
    const coordinator = new TracedCoordinator(t, world);
    const tracestate = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
    const asked = { requestId: "r1", spec: specOf(), validateOnly: false };
    const trace = { traceparent: GIVEN, tracestate };
    const { migration } = await coordinator.api.startMigration(asked, { trace });
    await world.untilArchived("web-7");
    assert.equal(migration?.tracestate, tracestate);
    assert.deepEqual([...coordinator.states], [tracestate]);
    assert.ok(world.feed.events.length > 0);
    for (const event of world.feed.events) assert.equal(event.tracestate, tracestate);
    const archived = world.store.archived.get(migration?.migrationId ?? "");
    assert.equal(archived?.migration?.tracestate, tracestate);
  });

  it("stays the one of the first call when its request is repeated in another trace", async (t) => {
    const world = openWorld(t);
    const coordinator = new TracedCoordinator(t, world);
    const migrationId = await coordinator.start(GIVEN);
    assert.equal(await coordinator.start(ANOTHER), migrationId);
    const { migration } = await coordinator.api.getMigration({ migrationId });
    assert.equal(migration?.traceparent, GIVEN);
  });

  it("goes on when another coordinator takes the migration up, which knows it from the record", async (t) => {
    const world = openWorld(t);
    world.hosts.moves = "when told";
    const first = new TracedCoordinator(t, world);
    const migrationId = await first.start(GIVEN);
    await world.untilPhase("web-7", "TRANSFERRING");
    first.runner.close();
    const second = new TracedCoordinator(t, world);
    assert.equal(await second.runner.resume(), 1);
    world.hosts.moveCpus();
    await world.untilArchived("web-7");
    assert.equal(second.traces.givenFor(migrationId)?.traceparent, GIVEN);
    const { traceparent } = traceOfMigration(migrationId, { traceparent: GIVEN });
    for (const name of ["follow", "releaseSource"]) {
      assert.deepEqual([...(second.called.get(name) ?? [])], [traceparent], name);
    }
    for (const event of world.feed.events) assert.equal(event.traceparent, GIVEN);
  });
});
