import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openChangeSocket } from "../../agent/netlink/change-socket.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { skipWithout } from "../resource.ts";
import { adopted, type Bench, MAC, withAgent } from "./agent-bench.ts";
import { eventually, fdbOf, portOf } from "./host-state.ts";
import { run, withAnotherNamespace } from "./in-network-namespace.ts";
import { addBridge, addUplink, TapEnd } from "./tap-end.ts";

const BROADCAST = "ff:ff:ff:ff:ff:ff";
const ENTRY = "web0 br0 static sticky";
const OWNER = { guestId: "web", instanceId: "a1" };
const options = { skip: skipWithout("root"), timeout: 30_000 };

describe("a registration of an agent that hears the kernel", options, () => {
  it("is made where the bridge has learned the address on its uplink, and nothing is told of it", () =>
    withWatchingAgent(async (bench) => {
      const uplink = addUplink("up0", "br0");
      try {
        await adopted(bench, "prelaunch");
        uplink.send(MAC, BROADCAST, "from the source");
        await eventually("learning", () => (fdbOf(MAC) === "up0 br0 dynamic" ? true : undefined));
        await bench.agent.startCpus(OWNER);
        assert.equal(fdbOf(MAC), ENTRY);
        assert.deepEqual(toldOf(bench), []);
      } finally {
        uplink.close();
      }
    }));

  it("is not stolen by a late frame from the source, and nothing is told of it", () =>
    withWatchingAgent(async (bench) => {
      const uplink = addUplink("up0", "br0");
      await adopted(bench, "running");
      const guest = new TapEnd("web0");
      try {
        // The port lets frames pass a while after the guest's end was opened.
        await eventually("the late frame", () => {
          uplink.send(MAC, BROADCAST, "late");
          return guest.texts().includes("late") ? true : undefined;
        });
        assert.equal(fdbOf(MAC), ENTRY);
        assert.deepEqual(toldOf(bench), []);
      } finally {
        guest.close();
        uplink.close();
      }
    }));

  for (const [what, reason, change, back] of [
    [
      "is removed",
      "DEVICE_MISSING",
      () => void run("ip", "link", "del", "web0"),
      () => {
        run("ip", "tuntap", "add", "web0", "mode", "tap");
        run("ip", "link", "set", "web0", "master", "br0");
      },
    ],
    [
      "is moved to another bridge",
      "NOT_A_PORT",
      () => {
        addBridge("br1");
        run("ip", "link", "set", "web0", "master", "br1");
      },
      () => void run("ip", "link", "set", "web0", "master", "br0"),
    ],
    [
      "is moved to another namespace",
      "DEVICE_MISSING",
      (elsewhere: string) => void run("ip", "link", "set", "web0", "netns", elsewhere),
      (elsewhere: string, here: string) => {
        run("ip", "-n", elsewhere, "link", "set", "web0", "netns", here);
        run("ip", "link", "set", "web0", "master", "br0");
      },
    ],
  ] as const) {
    it(`whose device ${what} is told as lost, raises an alarm, and is there again with the device`, () =>
      withAnotherNamespace((elsewhere) =>
        withWatchingAgent(async (bench) => {
          const vmm = await adopted(bench, "running");
          change(elsewhere);
          await eventually("the alarm", () => (toldOf(bench).at(-1)?.startsWith("alarm") ? true : undefined));
          assert.deepEqual(toldOf(bench), [`drifted ${reason}`, "alarm REGISTRATION_NOT_MENDED"]);
          assert.equal(fdbOf(MAC), "");
          assert.deepEqual(vmm.commands, []);
          back(elsewhere, run("ip", "netns", "identify", String(process.pid)).trim());
          await eventually("mending", () => (toldOf(bench).at(-1) === "mended" ? true : undefined));
          assert.equal(fdbOf(MAC), ENTRY);
          assert.equal(portOf("web0"), "web0 br0 up none learning=off flood=off mcast=on bcast=on");
        }),
      ));

    it(`whose device ${what} is no more when the CPUs stop, which goes well`, () =>
      withAnotherNamespace((elsewhere) =>
        withWatchingAgent(async (bench) => {
          const vmm = await adopted(bench, "running");
          change(elsewhere);
          await bench.agent.stopCpus(OWNER);
          assert.deepEqual(vmm.commands, ["stop"]);
          assert.equal(fdbOf(MAC), "");
        }),
      ));
  }
});

function withWatchingAgent(body: (bench: Bench) => Promise<void>): Promise<void> {
  let close = (): void => {};
  return withAgent(body, () => {
    const kernelChanges = openChangeSocket();
    close = () => kernelChanges.close();
    return { kernelChanges };
  }).finally(() => close());
}

/** What was told of the registration, in order. */
function toldOf({ told }: Bench): readonly string[] {
  return told.flatMap(({ event }: FeedEvent) => {
    switch (event?.$case) {
      case "registrationDrifted":
        return [`drifted ${event.value.reason}`];
      case "registrationMended":
        return ["mended"];
      case "alarmRaised":
        return [`alarm ${event.value.reason}`];
      default:
        return [];
    }
  });
}
