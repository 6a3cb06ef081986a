import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { pollUntil } from "../lab/deadline.ts";
import { type Lab, openLab } from "../lab/lab.ts";
import { joinNetworkNamespace } from "../lab/network-namespace.ts";
import { createPlainTap } from "../lab/plain-devices.ts";
import { Prober } from "../lab/probe.ts";
import { unixMicros } from "../lab/realtime-clock.ts";
import { FdbWitness } from "../lab/witness/fdb-witness.ts";
import { DEFAULT_BOUNDS, judgeRun, type WitnessedRun } from "../lab/witness/invariants.ts";
import { LinkWitness } from "../lab/witness/link-witness.ts";
import type { QmpRecord } from "../lab/witness/records.ts";
import { RouteWitness } from "../lab/witness/route-witness.ts";
import { skipWithout } from "../resource.ts";

const MAC = "52:54:00:12:34:56";
const options = { skip: skipWithout("root"), timeout: 30_000 };

async function withLab(use: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = await openLab();
  try {
    await use(lab);
  } finally {
    await lab.close();
  }
}

function namespacesOf(prefix: string): string[] {
  return readdirSync("/run/netns").filter((name) => name.startsWith(`${prefix}-`));
}

test(
  "a closed lab leaves no namespace, no process and no directory, and closing again changes nothing",
  options,
  async () => {
    const lab = await openLab();
    const child = lab.topology.host("ha").namespace.spawn("sleep", ["600"]);
    assert.equal(namespacesOf(lab.prefix).length, 6);
    await lab.close();
    await lab.close();
    assert.deepEqual(namespacesOf(lab.prefix), []);
    assert.equal(child.exit()?.signal, "SIGKILL");
    assert.equal(existsSync(lab.directory), false);
  },
);

/** A zombie that its new parent has not collected yet is dead. */
function isDead(pid: number): boolean {
  try {
    return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true;
  }
}

for (const [ending, end] of [
  ["SIGTERM", "process.kill(process.pid, 'SIGTERM')"],
  ["an uncaught exception", "setImmediate(() => { throw new Error('uncaught') })"],
  ["process.exit", "process.exit(3)"],
] as const) {
  test(`a process that ends by ${ending} takes its lab with it`, options, async () => {
    const labModule = join(import.meta.dirname, "../lab/lab.js");
    const script = `
      const { openLab } = await import(${JSON.stringify(labModule)});
      const lab = await openLab();
      const child = lab.topology.host("ha").namespace.spawn("sleep", ["600"]);
      process.stdout.write(JSON.stringify({ prefix: lab.prefix, directory: lab.directory, pid: child.pid }) + "\\n");
      setInterval(() => {}, 1000);
      ${end};`;
    const opener = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const ended = once(opener, "exit");
    const [line] = await once(createInterface({ input: opener.stdout }), "line");
    await ended;
    const { prefix, directory, pid } = JSON.parse(line);
    assert.deepEqual(namespacesOf(prefix), []);
    assert.equal(existsSync(directory), false);
    await pollUntil(() => isDead(pid) || undefined, 5000, `The end of the lab's child ${pid}`);
  });
}

test("peers reach each other over the fabric until it is cut, and again when it is restored", options, () =>
  withLab(async ({ topology }) => {
    const prober = await Prober.start({ peer: topology.peer("pa"), target: topology.peer("pb").address });
    await prober.waitForReply(0, 5000);
    await topology.cutFabric("hb");
    const cutUs = unixMicros();
    const report = await prober.report(cutUs, cutUs + 100_000);
    assert.ok(report.sent > 10);
    assert.equal(report.lost, report.sent);
    await topology.restoreFabric("hb");
    await prober.waitForReply(unixMicros(), 5000);
  }),
);

test("a process that joined the control namespace is back where it was after leaving it", options, () =>
  withLab(async ({ topology }) => {
    const home = readlinkSync("/proc/thread-self/ns/net");
    const leave = joinNetworkNamespace(topology.control);
    assert.notEqual(readlinkSync("/proc/thread-self/ns/net"), home);
    leave();
    leave();
    assert.equal(readlinkSync("/proc/thread-self/ns/net"), home);
  }),
);

test("hosts give out different interface indexes", options, () =>
  withLab(async ({ topology }) => {
    const indexes = await Promise.all(
      topology.hosts.map(async ({ namespace }) => {
        await createPlainTap(namespace, "tap0", "br0");
        const [link] = JSON.parse(await namespace.run("ip", ["-j", "link", "show", "tap0"]));
        return link.ifindex;
      }),
    );
    assert.equal(new Set(indexes).size, indexes.length);
  }),
);

test("the link witness tells which macvtap was online, came online and went offline", options, () =>
  withLab(async ({ topology }) => {
    const host = topology.host("ha");
    const add = (name: string) => `link add ${name} link ctl0 address ${MAC} type macvtap mode bridge`;
    await host.namespace.ip([add("mv0"), "link set mv0 up", add("mv1")]);
    const witness = await LinkWitness.start(host, [MAC]);
    await host.namespace.ip(["link set mv0 down", "link set mv1 up", "link delete mv1"]);
    const told = (await witness.close()).map(({ change, dev }) => `${change} ${dev}`);
    assert.equal(
      told.find((line) => line.endsWith("mv0")),
      "present mv0",
    );
    assert.equal(
      told.findLast((line) => line.endsWith("mv0")),
      "deleted mv0",
    );
    assert.ok(told.indexOf("set mv1") > told.indexOf("deleted mv0"));
    assert.equal(told.at(-1), "deleted mv1");
  }),
);

test(
  "the link witness tells that a macvtap gets no frames any more: in source mode, or on a parent that is down",
  options,
  () =>
    withLab(async ({ topology }) => {
      const host = topology.host("ha");
      await host.namespace.ip([
        "link add phys0 type veth peer name far0",
        "link set phys0 up",
        `link add mv0 link phys0 address ${MAC} type macvtap mode bridge`,
        "link set mv0 up",
      ]);
      const witness = await LinkWitness.start(host, [MAC]);
      for (const change of [
        "mv0 type macvtap mode source",
        "mv0 down",
        "mv0 type macvtap mode bridge",
        "mv0 up",
        "phys0 down",
        "phys0 up",
        "phys0 mtu 1400",
      ]) {
        await host.namespace.ip([`link set ${change}`]);
      }
      const told = (await witness.close()).map(({ change, dev }) => `${change} ${dev}`);
      // The kernel tells some changes more than once.
      const turns = told.filter((line, index) => line !== told[index - 1]);
      assert.deepEqual(turns, ["present mv0", "deleted mv0", "set mv0", "deleted mv0", "set mv0"]);
    }),
);

test(
  "the link witness has a macvtap judged that stays online when its guest has stopped, and none in source mode",
  options,
  () =>
    withLab(async ({ topology }) => {
      const host = topology.host("ha");
      const add = `link add mv0 link ctl0 address ${MAC} type macvtap mode bridge`;
      const judgedWith = async (onceStopped: readonly string[]): Promise<readonly string[]> => {
        await host.namespace.ip([add, "link set mv0 up"]);
        const witness = await LinkWitness.start(host, [MAC]);
        const instance = "web-1";
        const event = (name: string): QmpRecord => ({
          host: "ha",
          instance,
          atUnixUs: unixMicros(),
          fact: { kind: "event", name, data: {} },
        });
        const resumed = event("RESUME");
        await host.namespace.ip(onceStopped);
        const stopped = event("STOP");
        await pollUntil(
          async () => unixMicros() > stopped.atUnixUs + 2 * DEFAULT_BOUNDS.deregistrationUs || undefined,
          1_000,
          "Twice the bound",
        );
        await host.namespace.ip(["link delete mv0"]);
        const run: WitnessedRun = {
          instances: [{ instance, host: "ha", nics: [{ tap: "mv0", mac: MAC }] }],
          fdb: await witness.close(),
          qmp: [resumed, stopped],
          disk: [],
          window: { fromUnixUs: resumed.atUnixUs, toUnixUs: unixMicros() },
        };
        return judgeRun(run).find(({ invariant }) => invariant === "I3")?.violations ?? [];
      };
      const [violation = "", ...others] = await judgedWith([]);
      assert.match(violation, /^52:54:00:12:34:56 was registered on ha\/mv0 with its CPUs stopped/);
      assert.deepEqual(others, []);
      assert.deepEqual(await judgedWith(["link set mv0 type macvtap mode source"]), []);
    }),
);

test("the route witness tells where a prefix led, where it leads, and that it leads nowhere", options, () =>
  withLab(async ({ topology }) => {
    const host = topology.host("ha");
    await host.namespace.ip(["route add 192.0.2.7 dev ctl0", "route add 192.0.2.8 dev ctl0"]);
    const witness = await RouteWitness.start(host, [{ prefix: "192.0.2.7", mac: MAC }]);
    await host.namespace.ip(["route replace 192.0.2.7 dev uplink", "route delete 192.0.2.7"]);
    assert.deepEqual(
      (await witness.close()).map(({ change, dev, mac }) => `${change} ${dev} ${mac}`),
      [`present ctl0 ${MAC}`, `set uplink ${MAC}`, `deleted uplink ${MAC}`],
    );
  }),
);

test("witnesses of one kind watch one host side by side", options, () =>
  withLab(async ({ topology }) => {
    const host = topology.host("ha");
    const witnesses = await Promise.all(
      [MAC, "52:54:00:12:34:57"].map((mac) => FdbWitness.start(host, [mac])),
    );
    await host.namespace.bridge([`fdb replace ${MAC} dev uplink master static`]);
    const records = await Promise.all(witnesses.map((witness) => witness.close()));
    assert.deepEqual(
      records.map((of) => of.map(({ change, mac }) => `${change} ${mac}`)),
      [[`set ${MAC}`], []],
    );
  }),
);

test("the FDB witness tells what was there, what was set and what was deleted, in order", options, () =>
  withLab(async ({ topology }) => {
    const host = topology.host("ha");
    await createPlainTap(host.namespace, "tap0", host.bridge);
    await host.namespace.bridge([`fdb replace ${MAC} dev tap0 master static`]);
    const witness = await FdbWitness.start(host, [MAC]);
    const beforeUs = unixMicros();
    await host.namespace.bridge([`fdb replace ${MAC} dev tap0 master static sticky`]);
    await host.namespace.bridge([`fdb delete ${MAC} dev tap0 master`]);
    const records = await witness.close();
    assert.deepEqual(
      records.map(({ change, dev, state, sticky }) => ({ change, dev, state, sticky })),
      [
        { change: "present", dev: "tap0", state: "static", sticky: "movable" },
        { change: "set", dev: "tap0", state: "static", sticky: "sticky" },
        { change: "deleted", dev: "tap0", state: "static", sticky: "sticky" },
      ],
    );
    const times = records.slice(1).map(({ atUnixUs }) => atUnixUs);
    assert.ok(times.every((at) => at > beforeUs && at < unixMicros()));
  }),
);
