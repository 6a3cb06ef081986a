/** Whatever owners tell, in whatever order, late, twice, or to an agent that has just come back. */
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { CpuState } from "../../proto/gen/switchover/v1/guest.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { OwnersHost } from "./external-owner.ts";
import { GUEST } from "./guest-gate.ts";

const WORDS = ["", "active", "postcopy-active", "completed", "failed", "cancelled"] as const;
const STATES = ["", "paused", "finish-migrate", "postmigrate"] as const;
const RUNS = 300;

/** What may happen next, on one of the hosts where that matters. */
const happening = fc.oneof(
  fc.record({ t: fc.constant("told" as const), at: side(), status: of(WORDS), runState: of(STATES) }),
  fc.record({ t: fc.constant("obeys" as const), at: side() }),
  fc.record({ t: fc.constant("refuses" as const), at: side() }),
  fc.record({ t: fc.constant("restarts" as const), at: side() }),
  fc.record({ t: fc.constant("stops" as const), at: side(), runState: of(STATES) }),
  fc.record({ t: fc.constant("word" as const) }),
  fc.record({ t: fc.constant("cancelled" as const) }),
  fc.record({ t: fc.constant("waits" as const) }),
);

/** A migration as it goes where nothing else happens. */
const PLAIN: Readonly<Record<"live" | "postCopy", readonly Happening[]>> = {
  live: [
    { t: "told", at: "source", status: "active", runState: "" },
    { t: "stops", at: "source", runState: "finish-migrate" },
    { t: "told", at: "destination", status: "completed", runState: "paused" },
    { t: "told", at: "source", status: "completed", runState: "" },
    { t: "word" },
    { t: "obeys", at: "destination" },
  ],
  postCopy: [
    { t: "told", at: "source", status: "active", runState: "" },
    { t: "told", at: "destination", status: "postcopy-active", runState: "" },
    { t: "stops", at: "source", runState: "finish-migrate" },
    { t: "told", at: "source", status: "postcopy-active", runState: "" },
    { t: "word" },
    { t: "told", at: "destination", status: "", runState: "paused" },
    { t: "obeys", at: "destination" },
    { t: "told", at: "source", status: "completed", runState: "" },
  ],
};

/** One of those with something else in between, here and there. */
function storyOf(mode: "live" | "postCopy"): fc.Arbitrary<{ mode: MigrationMode; story: Happening[] }> {
  const noise = fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.array(happening, { maxLength: 2 }) },
  );
  const steps = PLAIN[mode].map((step) => noise.map((before) => [...before, step]));
  return fc.tuple(fc.tuple(...steps), fc.array(happening, { maxLength: 6 })).map(([parts, after]) => ({
    mode: mode === "live" ? MigrationMode.LIVE : MigrationMode.POST_COPY,
    story: [...parts.flat(), ...after],
  }));
}

type Happening = typeof happening extends fc.Arbitrary<infer Value> ? Value : never;

/** Two hosts whose owner starts CPUs where that is demanded, and nowhere else. */
class Owners {
  readonly source = new OwnersHost("ha");
  readonly destination = new OwnersHost("hb");
  readonly #runs = new Map<OwnersHost, "running" | "stopped">();

  async begin(mode: MigrationMode): Promise<void> {
    await this.source.adopt(CpuState.RUNNING);
    await this.destination.adopt(CpuState.STOPPED, "inmigrate");
    this.#runs.set(this.source, "running").set(this.destination, "stopped");
    await this.destination.prepared(mode);
    await this.source.armed(mode);
  }

  async happens(what: Happening): Promise<void> {
    const host = "at" in what && what.at === "destination" ? this.destination : this.source;
    switch (what.t) {
      case "told": {
        const runState = this.#runs.get(host) === "running" ? "" : what.runState;
        return this.#tell(host, { transferStatus: what.status, runState });
      }
      case "stops":
        this.#runs.set(host, "stopped");
        return this.#tell(host, { runState: what.runState });
      case "obeys": {
        const { demands } = await host.state();
        if (demands.includes("START_CPUS")) this.#runs.set(host, "running");
        if (demands.includes("STOP_CPUS")) this.#runs.set(host, "stopped");
        return this.#tell(host, {});
      }
      case "refuses":
        return this.#runs.get(host) === "stopped"
          ? this.#tell(host, { startRefusal: "It cannot." })
          : undefined;
      case "restarts":
        return host.restart();
      case "word":
        for (const handOff of this.source.words) {
          await answered(this.destination.agent.deliverHandOff({ ...this.destination.command(), handOff }));
        }
        return;
      case "cancelled": {
        const asked = answered(this.source.agent.cancelTransfer(this.source.command()));
        await this.source.pass(50);
        await this.#tell(this.source, {});
        await this.source.pass(4_100);
        return asked;
      }
      case "waits":
        for (const each of [this.source, this.destination]) await each.pass(200);
        return;
    }
  }

  /** Registered on one host at most, and nowhere that its CPUs may not run. */
  async judge(): Promise<void> {
    const [here, there] = [await this.source.state(), await this.destination.state()];
    assert.ok(here.entries === "" || there.entries === "", "registered on both hosts");
    const running = [...this.#runs.values()].filter((cpus) => cpus === "running");
    assert.ok(running.length <= 1, "running on both hosts");
    const starts = [here, there].filter(({ demands }) => demands.includes("START_CPUS"));
    assert.ok(starts.length + running.length <= 1, "to be started while it runs, or on both hosts");
    for (const [host, cpus] of this.#runs) {
      const { demands, entries } = host === this.source ? here : there;
      const isMissing = cpus === "running" && entries === "" && !demands.includes("STOP_CPUS");
      assert.ok(!isMissing, `runs on ${host.name} and is not registered`);
      const isLeft = cpus === "stopped" && entries !== "" && !demands.includes("START_CPUS");
      assert.ok(!isLeft || (await mayResumeByItself(host)), `stands on ${host.name} and is registered`);
    }
  }

  close(): void {
    for (const host of [this.source, this.destination]) host.agent.close();
  }

  async #tell(host: OwnersHost, told: Parameters<OwnersHost["report"]>[1]): Promise<void> {
    const cpus = this.#runs.get(host) === "running" ? CpuState.RUNNING : CpuState.STOPPED;
    await answered(host.report(cpus, told));
  }
}

/** Its transfer failed and it stands where QEMU resumes its guest the next moment: registered ahead of that. */
async function mayResumeByItself(host: OwnersHost): Promise<boolean> {
  const { instances } = await host.agent.getGuest({ guestId: GUEST });
  return instances.some(({ runState }) => runState === "finish-migrate") && host.said().includes("kept");
}

/** What is refused is refused: the judge says whether anything came of it. */
async function answered(call: Promise<unknown>): Promise<void> {
  await call.catch(() => {});
}

function side(): fc.Arbitrary<"source" | "destination"> {
  return fc.constantFrom("source", "destination");
}

function of<Word extends string>(words: readonly Word[]): fc.Arbitrary<Word> {
  return fc.constantFrom(...words);
}

it("a guest is registered, and to be started, on one host at most", { timeout: 120_000 }, async () => {
  let moved = 0;
  await fc.assert(
    fc.asyncProperty(fc.oneof(storyOf("live"), storyOf("postCopy")), async ({ mode, story }) => {
      const owners = new Owners();
      try {
        await owners.begin(mode);
        for (const what of story) {
          await owners.happens(what);
          await owners.judge();
        }
        if (owners.destination.said().includes("started")) moved += 1;
      } finally {
        owners.close();
      }
    }),
    { numRuns: RUNS, seed: 4 },
  );
  assert.ok(moved > RUNS / 4, `only ${moved} of ${RUNS} guests moved`);
});
