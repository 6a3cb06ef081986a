import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openChangeSocket } from "../../agent/netlink/change-socket.ts";
import type { KernelChange } from "../../agent/netlink/kernel-change.ts";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import type { RoutePort } from "../../agent/netlink/route-port.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { EntryMobility, type NicDefinition } from "../../proto/gen/switchover/v1/nic.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { skipWithout } from "../resource.ts";
import { adopted, type Bench, MAC, nic, prepare, withAgent } from "./agent-bench.ts";
import { macOf } from "./guest-nics.ts";
import { eventually, fdbOf, portOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";
import { PretendedVmm } from "./pretended-vmm.ts";
import { addBridge, addUplink } from "./tap-end.ts";

const QUARANTINED = "web0 br0 up none learning=off flood=off mcast=off bcast=off";
const REGISTERED = "web0 br0 up none learning=off flood=off mcast=on bcast=on";
const MAC_ADDRESS = parseMacAddress(MAC, "");
const ENTRY = "web0 br0 static sticky";
const options = { skip: skipWithout("root"), timeout: 30_000 };

type Drifter = (bench: Bench) => void | Promise<void>;

/** What others do, and the reason under which it is told. */
const DRIFTS: readonly [what: string, reason: string, drift: Drifter][] = [
  [
    "removes the entry",
    "NOT_REGISTERED",
    () => void run("bridge", "fdb", "del", MAC, "dev", "web0", "master"),
  ],
  [
    "moves the entry to the uplink, as extern_learn does",
    "REGISTERED_ELSEWHERE",
    () => {
      addUplink("up0", "br0").close();
      run("ip", "tuntap", "add", "up1", "mode", "tap");
      run("ip", "link", "set", "up1", "master", "br0");
      run("bridge", "fdb", "replace", MAC, "dev", "up1", "master", "extern_learn");
    },
  ],
  [
    "makes the entry one that roams",
    "REGISTRATION_DIFFERS",
    () => void run("bridge", "fdb", "replace", MAC, "dev", "web0", "master", "static"),
  ],
  ["flushes the bridge", "NOT_REGISTERED", () => void run("bridge", "fdb", "flush", "dev", "br0", "static")],
  [
    "lets the port learn",
    "PORT_FLAGS_DIFFER",
    () => void run("bridge", "link", "set", "dev", "web0", "learning", "on"),
  ],
  [
    "keeps broadcasts from the port",
    "PORT_FLAGS_DIFFER",
    () => void run("ip", "link", "set", "web0", "type", "bridge_slave", "bcast_flood", "off"),
  ],
  ["takes the device down", "DEVICE_DOWN", () => void run("ip", "link", "set", "web0", "down")],
  [
    "takes the device off its bridge and puts it back",
    "PORT_FLAGS_DIFFER",
    () => {
      run("ip", "link", "set", "web0", "nomaster");
      run("ip", "link", "set", "web0", "master", "br0");
    },
  ],
  ["takes the device off its bridge", "NOT_A_PORT", () => void run("ip", "link", "set", "web0", "nomaster")],
  [
    "makes the bridge anew, with the device on it",
    "PORT_FLAGS_DIFFER",
    () => {
      run("ip", "link", "del", "br0");
      addBridge("br0");
      run("ip", "link", "set", "web0", "master", "br0");
    },
  ],
  [
    "makes the bridge anew",
    "NOT_A_PORT",
    () => {
      run("ip", "link", "del", "br0");
      addBridge("br0");
    },
  ],
];

describe("the registration of a running guest", options, () => {
  for (const [what, reason, drift] of DRIFTS) {
    it(`is mended, and both is told, when somebody ${what}`, () =>
      withWatchingAgent(async (bench) => {
        await adopted(bench, "running");
        assert.equal(fdbOf(MAC), ENTRY);
        await drift(bench);
        await toldOf(bench, "registrationMended");
        assert.deepEqual(driftsOf(bench), [reason]);
        // The kernel keeps the mark of a controller's entry when it gives that to another port.
        assert.equal(fdbOf(MAC).replace(" extern_learn", ""), ENTRY);
        assert.equal(portOf("web0"), REGISTERED);
      }));
  }

  it("is mended when a late frame stole an entry that may roam", () =>
    withWatchingAgent(async (bench) => {
      await adoptedWith(bench, [nic()], "plain");
      const uplink = addUplink("up0", "br0");
      try {
        uplink.send(MAC, "ff:ff:ff:ff:ff:ff", "late");
        await toldOf(bench, "registrationMended");
        assert.deepEqual(driftsOf(bench), ["REGISTERED_ELSEWHERE"]);
        assert.equal(fdbOf(MAC), "web0 br0 static");
      } finally {
        uplink.close();
      }
    }));

  it("is mended on the one NIC of two that lost it, and the other is not touched", () =>
    withWatchingAgent(async (bench) => {
      addBridge("br1");
      const second = { ...nic({ macAddress: macOf(1), deviceName: "web1", bridge: "br1" }), nicId: "net1" };
      await adoptedWith(bench, [nic(), second]);
      run("ip", "link", "del", "br1");
      await toldOf(bench, "registrationDrifted");
      assert.equal(fdbOf(MAC), ENTRY);
      assert.equal(portOf("web0"), REGISTERED);
      addBridge("br1");
      run("ip", "link", "set", "web1", "master", "br1");
      await toldOf(bench, "registrationMended");
      assert.equal(fdbOf(macOf(1)), "web1 br1 static sticky");
      assert.equal(fdbOf(MAC), ENTRY);
    }));

  it("raises one alarm while its bridge is away, and is mended when that is back", () =>
    withWatchingAgent(async (bench) => {
      await adopted(bench, "running");
      run("ip", "link", "del", "br0");
      await toldOf(bench, "alarmRaised");
      // The next attempt after the alarm is a second later, and says nothing.
      const attempts = bench.told.length;
      addBridge("br0");
      await toldOf(bench, "registrationMended");
      assert.equal(fdbOf(MAC), ENTRY);
      assert.deepEqual(alarmsOf(bench), ["REGISTRATION_NOT_MENDED"]);
      assert.equal(bench.told.length, attempts + 1);
    }));

  it("is mended ever more slowly while somebody keeps undoing it", () =>
    withWatchingAgent(async (bench) => {
      await adopted(bench, "running");
      for (let round = 1; round <= 5; round++) {
        run("bridge", "fdb", "del", MAC, "dev", "web0", "master");
        await toldOf(bench, "registrationMended", round);
      }
      const mended = bench.told.flatMap(({ event }) =>
        event?.$case === "registrationMended" ? [Number(event.value.mendedAtUnixUs)] : [],
      );
      mended.slice(1).forEach((atUs, index) => {
        const waitedMs = (atUs - (mended[index] ?? 0)) / 1000;
        assert.ok(
          waitedMs >= 10 * 2 ** index,
          `attempt ${index + 2} came ${waitedMs} ms after the one before`,
        );
      });
    }));
});

describe("the quarantine of a guest that does not run", options, () => {
  for (const [what, drift] of [
    ["floods to it again", () => void run("bridge", "link", "set", "dev", "web0", "flood", "on")],
    ["lets it learn again", () => void run("bridge", "link", "set", "dev", "web0", "learning", "on")],
    [
      "registers its address there",
      () => void run("bridge", "fdb", "replace", MAC, "dev", "web0", "master", "static"),
    ],
    ["takes its device down", () => void run("ip", "link", "set", "web0", "down")],
  ] as const) {
    it(`is mended when somebody ${what}`, () =>
      withWatchingAgent(async (bench) => {
        await adopted(bench, "inmigrate");
        assert.equal(portOf("web0"), QUARANTINED);
        drift();
        await toldOf(bench, "registrationMended");
        assert.equal(portOf("web0"), QUARANTINED);
        assert.equal(fdbOf(MAC), "");
      }));
  }
});

describe("an agent that watches the kernel", options, () => {
  it("takes nothing that its own gates do for drift, and asks the kernel no more than one that does not watch", async () => {
    const counts: number[] = [];
    for (const watching of ["watching", "not watching"] as const) {
      let requests = 0;
      await withWatchingAgent(
        async (bench, heard) => {
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
        { onExecute: () => void requests++, watching },
      );
      counts.push(requests);
    }
    assert.equal(counts[0], counts[1]);
  });

  it("reads everything after an overrun, and mends what was lost in it", () =>
    withWatchingAgent(
      async (bench, heard) => {
        await adopted(bench, "running");
        const { route } = bench.devices;
        run("ip", "link", "add", "br9", "type", "bridge");
        run("ip", "tuntap", "add", "tap9", "mode", "tap");
        run("ip", "link", "set", "tap9", "master", "br9");
        const ifindex = ifindexOf("tap9");
        const storm = Array.from({ length: 4_000 }, (_, index) => ({
          op: "replaceFdbEntry" as const,
          ifindex,
          macAddress: parseMacAddress(`52:54:00:99:${hex(index >> 8)}:${hex(index & 0xff)}`, ""),
          sticky: "plain" as const,
        }));
        const loss = { op: "deleteFdbEntry", ifindex: ifindexOf("web0"), macAddress: MAC_ADDRESS } as const;
        await settled(heard, "watching");
        // All in one turn: nothing is heard before the buffer has overrun.
        route.execute(encodeBatch([...storm.slice(0, 2_000), loss, ...storm.slice(2_000)]));
        await toldOf(bench, "registrationMended");
        assert.equal(fdbOf(MAC), ENTRY);
      },
      { receiveBufferBytes: 1 },
    ));

  it("finds by itself what nobody told it, every 10 s", () => {
    const clock = openHostClock();
    const audits: (() => void)[] = [];
    return withAgent(
      async (bench) => {
        await adopted(bench, "running");
        run("bridge", "fdb", "del", MAC, "dev", "web0", "master");
        audits.shift()?.();
        await toldOf(bench, "registrationMended");
        assert.equal(fdbOf(MAC), ENTRY);
        assert.equal(audits.length, 1);
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
});

type Watching = "watching" | "not watching";

interface WatchOptions {
  readonly receiveBufferBytes?: number;
  readonly onExecute?: () => void;
  readonly watching?: Watching;
}

/** `heard` grows by what the kernel tells. */
function withWatchingAgent(
  body: (bench: Bench, heard: KernelChange[]) => Promise<void>,
  { receiveBufferBytes, onExecute = () => {}, watching = "watching" }: WatchOptions = {},
): Promise<void> {
  const heard: KernelChange[] = [];
  let close = () => {};
  return withAgent(
    (bench) => body(bench, heard),
    ({ route, factory }) => {
      const kernelChanges = openChangeSocket(receiveBufferBytes === undefined ? {} : { receiveBufferBytes });
      kernelChanges.watch((changes) => void heard.push(...changes));
      close = () => kernelChanges.close();
      const counted: RoutePort = {
        execute: (batch) => {
          onExecute();
          return route.execute(batch);
        },
        ready: (batch) => route.ready(batch),
        dump: (dump) => route.dump(dump),
      };
      return {
        devices: { route: counted, factory },
        ...(watching === "watching" ? { kernelChanges } : {}),
      };
    },
  ).finally(() => close());
}

/** Waits until all that has happened so far was heard, the last of it being a stranger's. */
async function settled(heard: KernelChange[], watching: Watching): Promise<void> {
  if (watching === "not watching") return;
  await eventually("what the kernel has told so far", () => (heard.length > 0 ? true : undefined));
  heard.length = 0;
  run("ip", "link", "set", "lo", "up");
  run("ip", "link", "set", "lo", "down");
  await eventually("a change of lo", () => (heard.some(isOfLo) ? true : undefined));
}

function isOfLo(change: KernelChange): boolean {
  return change.kind === "overrun" || (change.kind === "linkChanged" && change.link.name === "lo");
}

async function adoptedWith(
  { agent, vmms }: Bench,
  nics: Parameters<typeof prepare>[1],
  mobility: "sticky" | "plain" = "sticky",
): Promise<void> {
  vmms.set("/run/a1", new PretendedVmm("running"));
  await agent.prepareNics(
    prepare(
      "a1",
      nics?.map((one) => withMobility(one, mobility)),
    ),
  );
  await agent.adoptGuest({
    guestId: "web",
    instanceId: "a1",
    qmpPath: "/run/a1",
    externalCpuSource: undefined,
  });
}

/** Waits until the event was told so often. */
async function toldOf(
  { told }: Bench,
  kind: NonNullable<FeedEvent["event"]>["$case"],
  times = 1,
): Promise<void> {
  await eventually(`${times} times ${kind}`, () =>
    told.filter(({ event }) => event?.$case === kind).length >= times ? true : undefined,
  );
}

function driftsOf({ told }: Bench): readonly string[] {
  return told.flatMap(({ event }) => (event?.$case === "registrationDrifted" ? [event.value.reason] : []));
}

function alarmsOf({ told }: Bench): readonly string[] {
  return told.flatMap(({ event }) => (event?.$case === "alarmRaised" ? [event.value.reason] : []));
}

function withMobility(definition: NicDefinition, mobility: "sticky" | "plain"): NicDefinition {
  const { device } = definition;
  if (device?.$case !== "tapOnBridge") return definition;
  const entryMobility = mobility === "sticky" ? EntryMobility.STICKY : EntryMobility.ROAMING;
  return { ...definition, device: { $case: "tapOnBridge", value: { ...device.value, entryMobility } } };
}

function ifindexOf(deviceName: string): number {
  const [link] = JSON.parse(run("ip", "-j", "link", "show", "dev", deviceName)) as { ifindex: number }[];
  return link?.ifindex ?? 0;
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
