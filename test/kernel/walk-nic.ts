import assert from "node:assert/strict";
import type { KnownDevices } from "../../agent/device/find-nics.ts";
import { findDrift, mendNics } from "../../agent/device/nic-mending.ts";
import { type HostDevices, type PreparedNic, prepareNics } from "../../agent/device/nic-preparation.ts";
import { releaseNics } from "../../agent/device/nic-release.ts";
import { type ArmedNicSet, armNicSet, stopNics } from "../../agent/device/nic-set.ts";
import { clockUs, ownershipsOf, withHost } from "./guest-nics.ts";
import { inNetworkNamespace, withAnotherNamespace } from "./in-network-namespace.ts";
import type { Deed, Drift, HostOfNic, KindOfNic, Standing } from "./kind-of-nic.ts";
import { type HostState, revisit, type Visits } from "./revisit.ts";

/**
 * Does to a NIC of the kind whatever Switchover and others can do to it, each deed after each other one, and compares
 * what the kernel shows and what is said of it every time. What others do is done to a NIC that is as it should be.
 */
export function walkNic(kind: KindOfNic, seed: number): Promise<Visits> {
  return inNetworkNamespaceFor((devices, elsewhere) => {
    const host = kind.open(elsewhere);
    const walker = new NicWalker(kind, host, devices);
    return revisit(walker.states, host.read, seed, walker.isWay).finally(() => host.close());
  });
}

async function inNetworkNamespaceFor(
  body: (devices: HostDevices, elsewhere: string) => Promise<Visits>,
): Promise<Visits> {
  let visits: Visits | undefined;
  await inNetworkNamespace(() =>
    withAnotherNamespace((elsewhere) =>
      withHost(async (devices) => {
        visits = await body(devices, elsewhere);
      }),
    ),
  );
  return visits ?? assert.fail();
}

/** Knows at every moment what was done to the NIC, and so what the kernel has to show. */
class NicWalker {
  readonly #kind: KindOfNic;
  readonly #host: HostOfNic;
  readonly #devices: HostDevices;
  readonly #byOthers: readonly HostState[];
  readonly #prepared: HostState;
  readonly #released: HostState;
  readonly states: readonly HostState[];
  #former: ReadonlyMap<string, PreparedNic> = new Map();
  #set: ArmedNicSet | undefined;
  #standing: Standing = "released";
  #drift: Drift | undefined;

  constructor(kind: KindOfNic, host: HostOfNic, devices: HostDevices) {
    this.#kind = kind;
    this.#host = host;
    this.#devices = devices;
    this.#prepared = this.#state("prepared", () => this.#prepare());
    this.#released = this.#state("released", () => this.#release());
    this.#byOthers = host.drifts.map((drift) =>
      this.#state(`${drift.of}, then ${drift.name}`, () => this.#happen(drift)),
    );
    this.states = [
      this.#prepared,
      this.#state("started", () => this.#start()),
      this.#state("stopped", () => this.#stop()),
      this.#state("mended while the guest runs", () => this.#mend("registered")),
      this.#state("mended while the guest stands", () => this.#mend("quarantined")),
      this.#state("armed by a new agent", () => this.#arm()),
      this.#released,
      ...this.#byOthers,
    ];
  }

  /** What was released is to be prepared first; and after others come neither others nor anything but one of ours. */
  readonly isWay = (from: HostState, to: HostState): boolean => {
    if (this.#byOthers.includes(to)) return !this.#byOthers.includes(from);
    return from !== this.#released || to === this.#prepared;
  };

  #state(name: string, reach: () => void | Promise<void>): HostState {
    return {
      name,
      reach: async () => {
        await reach();
        this.#checkWhatIsSaid();
      },
      wanted: () => this.#shown(this.#standing),
    };
  }

  #shown(standing: Standing): readonly string[] {
    for (const texts of [this.#drift?.shown, this.#kind.shown]) {
      const text = texts?.[standing] ?? (standing === "stopped" ? texts?.prepared : undefined);
      if (text !== undefined) return typeof text === "string" ? [text] : text;
    }
    return assert.fail(`It is not known what the kernel shows of a NIC that is ${standing}.`);
  }

  get #nics() {
    return [this.#kind.nic];
  }

  get #ownerships() {
    return ownershipsOf([...this.#former.values()]);
  }

  get #known(): KnownDevices {
    return new Map([...this.#former.values()].map(({ nicId, ifindex }) => [nicId, ifindex]));
  }

  #prepare(): void {
    const prepare = () => prepareNics(this.#devices, this.#nics, undefined, { former: this.#former });
    if (this.#cannot("prepare")) {
      assert.throws(prepare, { code: "FAILED_PRECONDITION" });
      if (this.#standing !== "released") return;
      // Nothing more can be done with what is not there.
      this.#host.repair();
      this.#drift = undefined;
    }
    this.#former = new Map(prepare().map((nic) => [nic.nicId, nic]));
    this.#endedBy("prepare");
    // A set that is armed outlives its devices.
    if (this.#standing === "released" || this.#set === undefined) this.#arm();
    this.#standing = "prepared";
  }

  /** Where nothing is armed, nothing can be started, nor has to be undone. */
  #start(): void {
    const fails = this.#cannot("start");
    if (this.#set === undefined) {
      assert.ok(fails);
      return;
    }
    assert.equal(this.#set.start().result, fails ? "failed" : "started");
    this.#endedBy("start");
    this.#standing = fails ? "stopped" : "registered";
  }

  #stop(): void {
    const { route } = this.#devices;
    const report = this.#set?.stop() ?? stopNics(route, this.#nics, this.#known, clockUs);
    assert.equal(report.result, "stopped");
    this.#endedBy("stop");
    this.#standDown();
  }

  #mend(wanted: "registered" | "quarantined"): void {
    const left = mendNics(this.#devices.route, this.#nics, this.#ownerships, wanted, this.#known);
    this.#endedBy(wanted === "registered" ? "mendRunning" : "mendStanding");
    if (wanted === "quarantined") this.#standDown();
    else if (!this.#cannot("mendRunning")) this.#standing = "registered";
    if (this.#set === undefined) this.#arm();
    const said = this.#drift?.said[wanted === "registered" ? "registered" : "prepared"];
    assert.equal(left[0]?.problem.reason, said);
  }

  /** With a set of its own, by what the kernel holds. */
  #arm(): void {
    const arm = () => armNicSet(this.#devices.route, this.#nics, clockUs);
    if (this.#drift?.isAstray === true) {
      assert.throws(arm, { code: "FAILED_PRECONDITION" });
      this.#set = undefined;
    } else this.#set = arm();
  }

  #release(): void {
    const reports = releaseNics(this.#devices.route, this.#nics, this.#ownerships, "delete");
    assert.deepEqual(reports, [{ nicId: this.#kind.nic.nicId }]);
    this.#endedBy("release");
    this.#former = new Map();
    this.#standing = "released";
  }

  async #happen(drift: Drift): Promise<void> {
    this.#host.repair();
    this.#drift = undefined;
    this.#prepare();
    if (drift.of === "registered") this.#start();
    await drift.happen();
    this.#drift = drift;
  }

  /** What stood already stands as before. */
  #standDown(): void {
    if (this.#standing === "registered") this.#standing = "stopped";
  }

  #cannot(deed: Deed): boolean {
    const { fails = [], isAstray } = this.#drift ?? {};
    return fails.includes(deed) || (isAstray === true && deed === "mendRunning");
  }

  #endedBy(deed: Deed): void {
    if (this.#drift?.endedBy.includes(deed) === true) this.#drift = undefined;
  }

  /** Of a NIC that was released nobody asks. */
  #checkWhatIsSaid(): void {
    const standing = this.#standing;
    if (standing === "released") return;
    const wanted = standing === "registered" ? "registered" : "quarantined";
    const [found] = findDrift(this.#devices.route, this.#nics, wanted, this.#known);
    const said = this.#drift?.said;
    const expected = said?.[standing] ?? (standing === "stopped" ? said?.prepared : undefined);
    assert.equal(found?.problem.reason, expected, found?.problem.sentence);
  }
}
