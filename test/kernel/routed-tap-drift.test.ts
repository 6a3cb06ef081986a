import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openChangeSocket } from "../../agent/netlink/change-socket.ts";
import type { KernelChange } from "../../agent/netlink/kernel-change.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { skipWithout } from "../resource.ts";
import { type Bench, MAC, prepare, withAgent } from "./agent-bench.ts";
import { eventually, routedOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { PretendedVmm } from "./pretended-vmm.ts";
import { TapEnd } from "./tap-end.ts";

const NIC = NicDefinition.fromPartial({
  nicId: "net0",
  macAddress: MAC,
  device: {
    $case: "routedTap",
    value: {
      deviceName: "web0",
      hostAddresses: ["169.254.0.1/32", "fe80::1/64"],
      routes: ["192.0.2.7/32", "2001:db8::7/128"],
    },
  },
});
const RUNNING = `web0 - up none
169.254.0.1/32 link
fe80::1/64 link
192.0.2.7 static
2001:db8::7 static 1
fe80::/64 kernel 256`;
const options = { skip: skipWithout("root"), timeout: 30_000 };

describe("a routed tap whose guest runs", options, () => {
  for (const [what, reason, drift] of [
    [
      "takes an IPv4 address away",
      "ADDRESS_MISSING",
      () => run("ip", "addr", "del", "169.254.0.1/32", "dev", "web0"),
    ],
    [
      "takes an IPv6 address away",
      "ADDRESS_MISSING",
      () => run("ip", "addr", "del", "fe80::1/64", "dev", "web0"),
    ],
    ["takes the tap down", "DEVICE_DOWN", () => run("ip", "link", "set", "web0", "down")],
  ] as const) {
    it(`is mended at once, and both is told, when somebody ${what}`, () =>
      withWatchingAgent(async (bench) => {
        await adopted(bench, "running");
        assert.equal(routedOf("web0"), RUNNING);
        drift();
        await toldOf(bench, "registrationMended");
        assert.deepEqual(driftsOf(bench), [reason]);
        assert.equal(routedOf("web0"), RUNNING);
      }));
  }

  it("is mended at once when the tap was made again", () =>
    withWatchingAgent(async (bench) => {
      await adopted(bench, "running");
      run("ip", "link", "del", "web0");
      const end = new TapEnd("web0");
      try {
        await toldOf(bench, "registrationMended");
        assert.equal(routedOf("web0"), RUNNING);
        run("ip", "addr", "del", "169.254.0.1/32", "dev", "web0");
        await toldOf(bench, "registrationMended", 2);
        assert.equal(routedOf("web0"), RUNNING);
      } finally {
        end.close();
      }
    }));

  for (const [what, reason, drift] of [
    [
      "takes a route away",
      "ROUTE_MISSING",
      () => run("ip", "-6", "route", "del", "2001:db8::7/128", "dev", "web0"),
    ],
    [
      "leads a route elsewhere",
      "ROUTED_ELSEWHERE",
      () => {
        run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1");
        run("ip", "link", "set", "v0", "up");
        run("ip", "route", "replace", "192.0.2.7/32", "dev", "v0");
      },
    ],
  ] as const) {
    it(`is mended by the next audit when somebody ${what}`, () => {
      const clock = openHostClock();
      const audits: (() => void)[] = [];
      return withAgent(
        async (bench) => {
          await adopted(bench, "running");
          drift();
          audits.shift()?.();
          await toldOf(bench, "registrationMended");
          assert.deepEqual(driftsOf(bench), [reason]);
          assert.equal(routedOf("web0"), RUNNING);
        },
        () => ({
          kernelChanges: { watch: () => () => {} },
          clock: {
            unixUs: () => clock.unixUs(),
            after: (delayMs, fire) => {
              if (delayMs !== 10_000) return clock.after(delayMs, fire);
              audits.push(fire);
              return () => {};
            },
          },
        }),
      );
    });
  }
});

describe("a routed tap in quarantine", options, () => {
  it("is mended at once when somebody gives it the host's address", () =>
    withWatchingAgent(async (bench) => {
      await adopted(bench, "inmigrate");
      run("ip", "addr", "add", "169.254.0.1/32", "dev", "web0");
      await toldOf(bench, "registrationMended");
      assert.equal(routedOf("web0"), "web0 - down none");
    }));
});

it(
  "an agent takes nothing that its own gate does to a routed tap for drift, and does not look at it",
  options,
  async () => {
    const counts: number[] = [];
    for (const watching of ["watching", "not watching"] as const) {
      const heard: KernelChange[] = [];
      let requests = 0;
      await withWatchingAgent(
        async (bench) => {
          await adopted(bench, "prelaunch");
          await settled(heard, watching);
          requests = 0;
          for (const _round of [1, 2, 3]) {
            await bench.agent.startCpus({ guestId: "web", instanceId: "a1" });
            await settled(heard, watching);
            await bench.agent.stopCpus({ guestId: "web", instanceId: "a1" });
            await settled(heard, watching);
          }
          assert.deepEqual(driftsOf(bench), []);
        },
        { heard, watching, onExecute: () => void requests++ },
      );
      counts.push(requests);
    }
    assert.equal(counts[0], counts[1]);
  },
);

it(
  "an agent refuses a prefix that leads to another guest, and not to another instance of the same",
  options,
  () =>
    withAgent(async (bench) => {
      const { agent } = bench;
      await adopted(bench, "running");
      const second = (routes: string[]): NicDefinition => ({
        ...NIC,
        device: { $case: "routedTap", value: { deviceName: "web1", hostAddresses: [], routes } },
      });
      const routes = ["192.0.2.8/32", "192.0.2.7/32"];
      await assert.rejects(async () => agent.prepareNics(prepare("b1", [second(routes)], "db")), {
        code: "FAILED_PRECONDITION",
        reason: "ROUTE_IN_USE",
        field: "nics[0].routed_tap.routes[1]",
      });
      await agent.prepareNics(prepare("a2", [second(routes)]));
      assert.equal(routedOf("web1"), "web1 - down none");
      assert.equal(routedOf("web0"), RUNNING);
    }),
);

interface WatchOptions {
  readonly heard?: KernelChange[];
  readonly watching?: "watching" | "not watching";
  readonly onExecute?: () => void;
}

function withWatchingAgent(
  body: (bench: Bench) => Promise<void>,
  { heard, watching = "watching", onExecute = () => {} }: WatchOptions = {},
): Promise<void> {
  let close = () => {};
  return withAgent(body, ({ route, factory }) => {
    const kernelChanges = openChangeSocket();
    kernelChanges.watch((changes) => void heard?.push(...changes));
    close = () => kernelChanges.close();
    return {
      devices: {
        route: {
          execute: (batch) => {
            onExecute();
            return route.execute(batch);
          },
          ready: (batch) => route.ready(batch),
          dump: (dump) => route.dump(dump),
        },
        factory,
      },
      ...(watching === "watching" ? { kernelChanges } : {}),
    };
  }).finally(() => close());
}

/** Waits until all that has happened so far was heard, the last of it being a stranger's. */
async function settled(heard: KernelChange[], watching: "watching" | "not watching"): Promise<void> {
  if (watching === "not watching") return;
  heard.length = 0;
  run("ip", "addr", "add", "127.9.9.9/32", "dev", "lo");
  run("ip", "addr", "del", "127.9.9.9/32", "dev", "lo");
  await eventually("a stranger's change", () =>
    heard.some((change) => change.kind === "addressRemoved" && change.address.address === "127.9.9.9/32")
      ? true
      : undefined,
  );
}

async function adopted({ agent, vmms }: Bench, runState: "prelaunch" | "inmigrate" | "running") {
  vmms.set("/run/a1", new PretendedVmm(runState));
  await agent.prepareNics(prepare("a1", [NIC]));
  await agent.adoptGuest({
    guestId: "web",
    instanceId: "a1",
    qmpPath: "/run/a1",
    externalCpuSource: undefined,
  });
}

/** Waits until the event was told so often. */
async function toldOf({ told }: Bench, kind: NonNullable<FeedEvent["event"]>["$case"], times = 1) {
  await eventually(`${times} times ${kind}`, () =>
    told.filter(({ event }) => event?.$case === kind).length >= times ? true : undefined,
  );
}

function driftsOf({ told }: Bench): readonly string[] {
  return told.flatMap(({ event }) => (event?.$case === "registrationDrifted" ? [event.value.reason] : []));
}
