import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Clock } from "../../agent/clock.ts";
import { openJournalDirectory } from "../../agent/journal/guest-journal.ts";
import type { JournalStore } from "../../agent/journal/journal.ts";
import type { JournalWord } from "../../agent/journal/journal-entry.ts";
import { openChangeSocket } from "../../agent/netlink/change-socket.ts";
import type { KernelChange } from "../../agent/netlink/kernel-change.ts";
import type { RoutePort } from "../../agent/netlink/route-port.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { Applied, type HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import { MigrationMode } from "../../proto/gen/switchover/v1/migration.ts";
import { MacvtapMode, type NicDefinition, Registration } from "../../proto/gen/switchover/v1/nic.ts";
import { openHostClock } from "../../services/clock/host-clock.ts";
import { skipWithout } from "../resource.ts";
import { adopted, type Bench, MAC, nic, prepare, withAgent } from "./agent-bench.ts";
import { macOf } from "./guest-nics.ts";
import { deviceNames, eventually, fdbOf, linkOf, portOf } from "./host-state.ts";
import { run } from "./in-network-namespace.ts";

const MAC_1 = macOf(1);
const ENTRY = "web0 br0 static sticky";
const ENTRY_1 = "web1 br0 static sticky";
const QUARANTINED = "web1 br0 up none learning=off flood=off mcast=off bcast=off";
const REGISTERED = "web1 br0 up none learning=off flood=off mcast=on bcast=on";
const GUEST = { guestId: "web", instanceId: "a1" };
const AUDIT_MS = 10_000;
const MIGRATION = "web-mk3v0q8ya1z9";
const FENCE = { epoch: 3n, revision: 1n };
const options = { skip: skipWithout("root"), timeout: 30_000 };

function second(change: { macAddress?: string; deviceName?: string; bridge?: string } = {}): NicDefinition {
  return { ...nic({ macAddress: MAC_1, deviceName: "web1", ...change }), nicId: "net1" };
}

function attach({ agent }: Bench, definition: NicDefinition | undefined = second(), validateOnly = false) {
  return agent.attachNic({ ...GUEST, nic: definition, validateOnly });
}

function detach({ agent }: Bench, nicId = "net1") {
  return agent.detachNic({ ...GUEST, nicId });
}

function arm({ agent }: Bench) {
  return agent.armSource({
    ...{ ...GUEST, fence: FENCE, migrationId: MIGRATION, destinationHostId: "hb" },
    ...{ mode: MigrationMode.LIVE, transfer: undefined },
  });
}

function prepareIncoming({ agent }: Bench) {
  return agent.prepareDestination({
    ...{ ...GUEST, fence: FENCE, migrationId: MIGRATION, sourceHostId: "hb" },
    ...{ mode: MigrationMode.LIVE, transfer: undefined },
  });
}

function wordOf(nics: readonly { readonly nicId: string; readonly macAddress: string }[]): HandOff {
  return {
    migrationId: MIGRATION,
    guestId: "web",
    sourceHostId: "hb",
    sourceInstanceId: "b1",
    destinationHostId: "ha",
    fence: FENCE,
    runState: "running",
    stoppedAtUnixUs: 1n,
    deregisteredAtUnixUs: 2n,
    journaledAtUnixUs: 3n,
    nics: { nics },
  };
}

function alarmsOf({ told }: Bench): readonly string[] {
  return told.flatMap(({ event }) => (event?.$case === "alarmRaised" ? [event.value.reason] : []));
}

function nicsTold({ told }: Bench): readonly string[] {
  return told.flatMap(({ event }) =>
    event?.$case === "nicAttached" || event?.$case === "nicDetached"
      ? [`${event.$case} ${event.value.nicId}`]
      : [],
  );
}

const PREPARED_ONLY = { applied: Applied.CHANGED, registration: Registration.QUARANTINED };

function outcomeOf({ applied, registration }: Awaited<ReturnType<typeof attach>>) {
  return { applied, registration };
}

describe("a NIC that is attached", options, () => {
  it("is registered at once where the guest runs, and the second call changes nothing", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      const first = await attach(bench);
      assert.deepEqual(outcomeOf(first), {
        applied: Applied.CHANGED,
        registration: Registration.REGISTERED,
      });
      assert.equal(fdbOf(MAC_1), ENTRY_1);
      assert.equal(portOf("web1"), REGISTERED);
      const again = await attach(bench);
      assert.equal(again.applied, Applied.ALREADY_SO);
      assert.deepEqual(again.nic, first.nic);
      assert.deepEqual(
        (await bench.agent.getGuest(GUEST)).instances[0]?.nics.map(({ nicId }) => nicId),
        ["net0", "net1"],
      );
      await bench.agent.stopCpus(GUEST);
      assert.equal(fdbOf(MAC) + fdbOf(MAC_1), "");
      assert.equal(portOf("web1"), QUARANTINED);
      await bench.agent.startCpus(GUEST);
      assert.equal(`${fdbOf(MAC)}, ${fdbOf(MAC_1)}`, `${ENTRY}, ${ENTRY_1}`);
      await bench.agent.feedDrained(1_000);
      assert.deepEqual(nicsTold(bench), ["nicAttached net1"]);
    }));

  it("is only prepared where the CPUs stand, and registered with them", () =>
    withAgent(async (bench) => {
      await adopted(bench, "prelaunch");
      assert.deepEqual(outcomeOf(await attach(bench)), PREPARED_ONLY);
      assert.equal(portOf("web1"), QUARANTINED);
      assert.equal(fdbOf(MAC_1), "");
      await bench.agent.startCpus(GUEST);
      assert.equal(fdbOf(MAC_1), ENTRY_1);
    }));

  it("is only prepared before the instance has its VMM", () =>
    withAgent(async (bench) => {
      await bench.agent.prepareNics(prepare("a1"));
      assert.deepEqual(outcomeOf(await attach(bench)), PREPARED_ONLY);
      assert.equal(portOf("web1"), QUARANTINED);
    }));

  it("is only prepared while its guest comes in, and registered when the guest starts there", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "inmigrate");
      await prepareIncoming(bench);
      assert.deepEqual(outcomeOf(await attach(bench)), PREPARED_ONLY);
      assert.equal(fdbOf(MAC_1), "");
      vmm.suffers({ kind: "migrationStatusChanged", status: "completed", statusText: "completed" }, "paused");
      const named = [second(), nic()].map(({ nicId, macAddress }) => ({ nicId, macAddress }));
      await bench.agent.deliverHandOff({ ...GUEST, fence: FENCE, handOff: wordOf(named) });
      await eventually("the start", () => (vmm.commands.includes("cont") ? true : undefined));
      assert.equal(`${fdbOf(MAC)}, ${fdbOf(MAC_1)}`, `${ENTRY}, ${ENTRY_1}`);
      await bench.agent.feedDrained(1_000);
      assert.deepEqual(alarmsOf(bench), []);
    }));

  it("is only prepared while its guest is armed, and registered once that is kept", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "running");
      await arm(bench);
      assert.deepEqual(outcomeOf(await attach(bench)), PREPARED_ONLY);
      assert.equal(`${fdbOf(MAC)}, ${fdbOf(MAC_1)}`, `${ENTRY}, `);
      vmm.suffers({ kind: "migrationStatusChanged", status: "failed", statusText: "failed" }, "running");
      assert.equal(`${fdbOf(MAC)}, ${fdbOf(MAC_1)}`, `${ENTRY}, ${ENTRY_1}`);
      assert.equal(portOf("web1"), REGISTERED);
    }));

  it("waits on with an armed guest whose agent comes back, and is registered once that is kept", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "running");
      await arm(bench);
      await attach(bench);
      await bench.restart();
      assert.equal(`${fdbOf(MAC)}, ${fdbOf(MAC_1)}`, `${ENTRY}, `);
      vmm.suffers({ kind: "migrationStatusChanged", status: "failed", statusText: "failed" }, "running");
      assert.equal(fdbOf(MAC_1), ENTRY_1);
    }));

  it("may be a macvtap: online at once, and gone with its parent as it was once that is detached", () => {
    return withAgent(async (bench) => {
      run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0");
      run("ip", "link", "set", "far0", "up");
      run("ip", "link", "set", "eth0", "up");
      await adopted(bench, "running");
      const before = `${deviceNames()}\n${linkOf("eth0")}`;
      const macvtap = { deviceName: "mv1", parent: "eth0", mode: MacvtapMode.BRIDGE };
      const definition: NicDefinition = { ...second(), device: { $case: "macvtap", value: macvtap } };
      const { nic: prepared } = await attach(bench, definition);
      assert.match(prepared?.characterDevice ?? "", /^\/dev\/tap\d+$/);
      assert.equal(linkOf("mv1"), `mv1 on eth0 bridge up UP ${MAC_1} none`);
      await detach(bench);
      assert.equal(`${deviceNames()}\n${linkOf("eth0")}`, before);
    });
  });

  it("is there again, registered, when its agent comes back, and no orphan", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      await attach(bench);
      run("bridge", "fdb", "del", MAC_1, "dev", "web1", "master");
      await bench.restart();
      assert.equal(fdbOf(MAC_1), ENTRY_1);
      assert.deepEqual((await bench.agent.listOrphans({})).orphans, []);
      assert.equal((await attach(bench)).applied, Applied.ALREADY_SO);
    }));

  it("is mended like the others when somebody removes its entry", () =>
    withWatchingAgent(async (bench, heard) => {
      await adopted(bench, "running");
      await attach(bench);
      // Only what follows is to have it looked at.
      await eventually("what the kernel tells of the attachment", () =>
        heard.find((change) => change.kind === "fdbEntryChanged" && change.entry.macAddress === MAC_1),
      );
      run("bridge", "fdb", "del", MAC_1, "dev", "web1", "master");
      await eventually("the mending", () => (fdbOf(MAC_1) === ENTRY_1 ? true : undefined));
    }));

  it("changes nothing where it is only validated", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      const trial = await attach(bench, second(), true);
      assert.equal(trial.applied, Applied.UNSPECIFIED);
      assert.equal(deviceNames(), "br0 lo web0");
    }));
});

describe("a NIC that cannot be attached", options, () => {
  const REFUSALS: readonly [
    name: string,
    definition: NicDefinition | undefined,
    error: Record<string, string>,
  ][] = [
    ["none at all", undefined, { code: "INVALID_ARGUMENT", field: "nic" }],
    [
      "a device name of 200 characters",
      second({ deviceName: "x".repeat(200) }),
      { code: "INVALID_ARGUMENT", field: "nic.tap_on_bridge.device_name" },
    ],
    [
      "the guest's own device",
      second({ deviceName: "web0" }),
      { code: "INVALID_ARGUMENT", field: "nic.tap_on_bridge.device_name" },
    ],
    [
      "the guest's own MAC",
      second({ macAddress: MAC }),
      { code: "INVALID_ARGUMENT", field: "nic.mac_address" },
    ],
    [
      "another definition of a NIC that is there",
      { ...second(), nicId: "net0" },
      { code: "ALREADY_EXISTS", reason: "NIC_EXISTS", field: "nic.nic_id" },
    ],
    [
      "a bridge that is not there",
      second({ bridge: "br9" }),
      { code: "FAILED_PRECONDITION", reason: "BRIDGE_MISSING", field: "nic.tap_on_bridge.bridge" },
    ],
    [
      "another guest's MAC",
      second({ macAddress: macOf(7) }),
      { code: "FAILED_PRECONDITION", reason: "MAC_IN_USE", field: "nic.mac_address" },
    ],
    [
      "a further MAC that is another guest's",
      { ...second(), additionalMacAddresses: [macOf(7)] },
      {
        code: "FAILED_PRECONDITION",
        reason: "MAC_IN_USE",
        field: "nic.additional_mac_addresses[0]",
      },
    ],
    [
      "another guest's device",
      second({ deviceName: "db0" }),
      { code: "FAILED_PRECONDITION", reason: "DEVICE_IN_USE", field: "nic.tap_on_bridge.device_name" },
    ],
  ];
  for (const [name, definition, error] of REFUSALS) {
    it(`leaves the host as it was: ${name}`, () =>
      withAgent(async (bench) => {
        await adopted(bench, "running");
        const other = nic({ macAddress: macOf(7), deviceName: "db0" });
        await bench.agent.prepareNics(prepare("d1", [other], "db"));
        const request = { ...GUEST, nic: definition, validateOnly: false };
        await assert.rejects(bench.agent.attachNic(request), error);
        assert.equal(deviceNames(), "br0 db0 lo web0");
        assert.equal(fdbOf(MAC), ENTRY);
      }));
  }

  it("leaves the host as it was where the kernel refuses its entry, also after a restart", () =>
    withAgent(
      async (bench) => {
        await adopted(bench, "running");
        await assert.rejects(attach(bench), { code: "ABORTED", reason: "REGISTRATION_REFUSED" });
        assert.equal(deviceNames(), "br0 lo web0");
        assert.equal(fdbOf(MAC), ENTRY);
        await bench.restart();
        const { instances } = await bench.agent.getGuest(GUEST);
        assert.deepEqual(
          instances[0]?.nics.map(({ nicId }) => nicId),
          ["net0"],
        );
      },
      ({ route, factory }) => ({ devices: { factory, route: refusing(route, MAC_1) } }),
    ));

  it("leaves the host as it was where the journal does not take it", () =>
    withAgent(
      async (bench) => {
        await adopted(bench, "running");
        await assert.rejects(attach(bench), { code: "UNAVAILABLE", reason: "JOURNAL_UNWRITABLE" });
        assert.equal(deviceNames(), "br0 lo web0");
        assert.equal(fdbOf(MAC), ENTRY);
        await bench.agent.stopCpus(GUEST);
        await bench.agent.startCpus(GUEST);
        assert.equal(fdbOf(MAC), ENTRY);
      },
      (_devices, stateDirectory) => ({ journals: refusingWord("nicAttached", stateDirectory) }),
    ));

  it("is one for a guest that is not here, and for one that was handed off", () =>
    withAgent(async (bench) => {
      const vmm = await adopted(bench, "running");
      const elsewhere = { guestId: "db", instanceId: "", nic: second(), validateOnly: false };
      await assert.rejects(bench.agent.attachNic(elsewhere), { code: "NOT_FOUND", reason: "GUEST_UNKNOWN" });
      await arm(bench);
      vmm.suffers({ kind: "stop" }, "finish-migrate");
      vmm.suffers(
        { kind: "migrationStatusChanged", status: "completed", statusText: "completed" },
        "postmigrate",
      );
      await eventually("the hand-off", () =>
        bench.told.some(({ event }) => event?.$case === "handedOff") ? true : undefined,
      );
      await assert.rejects(attach(bench), { code: "FAILED_PRECONDITION", reason: "NOT_OWNER" });
      assert.equal(deviceNames(), "br0 lo web0");
    }));
});

/** An agent that hears what others do to its devices. */
function withWatchingAgent(body: (bench: Bench, heard: KernelChange[]) => Promise<void>): Promise<void> {
  let close = () => {};
  const heard: KernelChange[] = [];
  return withAgent(
    (bench) => body(bench, heard),
    () => {
      const kernelChanges = openChangeSocket();
      kernelChanges.watch((changes) => void heard.push(...changes));
      close = () => kernelChanges.close();
      const clock = openHostClock();
      // Without the audit, which would see by itself what was not told.
      const after: Clock["after"] = (delayMs, fire) =>
        delayMs === AUDIT_MS ? () => {} : clock.after(delayMs, fire);
      return { kernelChanges, clock: { unixUs: () => clock.unixUs(), after } };
    },
  ).finally(() => close());
}

/** Journals whose disk is full for words of that kind. */
function refusingWord(kind: JournalWord["kind"], stateDirectory: string): JournalStore {
  const store = openJournalDirectory(stateDirectory);
  return {
    guestIds: () => store.guestIds(),
    exists: (guestId) => store.exists(guestId),
    open: (guestId) => {
      const journal = store.open(guestId);
      return {
        get entries() {
          return journal.entries;
        },
        get bytes() {
          return journal.bytes;
        },
        sync: () => journal.sync(),
        close: () => journal.close(),
        write: (entry) => {
          if (entry.word.kind !== kind) return journal.write(entry);
          throw new SwitchoverError("UNAVAILABLE", "The disk is full.", { reason: "JOURNAL_UNWRITABLE" });
        },
      };
    },
  };
}

/** A kernel that has no room for that address's entry. */
function refusing(route: RoutePort, macAddress: string): RoutePort {
  return {
    ready: (batch) => route.ready(batch),
    dump: (dump) => route.dump(dump),
    execute: (batch) =>
      batch.requests.some((request) => request.op === "replaceFdbEntry" && request.macAddress === macAddress)
        ? batch.requests.map(() => ({ ok: false, errno: 28, name: "ENOSPC", text: "" }))
        : route.execute(batch),
  };
}

describe("a NIC that is detached", options, () => {
  it("is deregistered and gone, and the other one is not touched", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      await attach(bench);
      assert.equal((await detach(bench)).applied, Applied.CHANGED);
      assert.equal(deviceNames(), "br0 lo web0");
      assert.equal(`${fdbOf(MAC)}, ${fdbOf(MAC_1)}`, `${ENTRY}, `);
      assert.equal((await detach(bench)).applied, Applied.ALREADY_SO);
      await bench.restart();
      assert.equal(deviceNames(), "br0 lo web0");
      assert.equal((await attach(bench)).applied, Applied.CHANGED);
      assert.equal(fdbOf(MAC_1), ENTRY_1);
    }));

  it("leaves a device that is not the agent's, in quarantine", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      run("ip", "tuntap", "add", "web1", "mode", "tap");
      await attach(bench);
      assert.equal(fdbOf(MAC_1), ENTRY_1);
      await detach(bench);
      assert.equal(deviceNames(), "br0 lo web0 web1");
      assert.equal(fdbOf(MAC_1), "");
    }));

  it("may be the guest's last: it stops, starts and is armed without any", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      await detach(bench, "net0");
      assert.equal(deviceNames(), "br0 lo");
      await bench.agent.stopCpus(GUEST);
      await bench.agent.startCpus(GUEST);
      await bench.restart();
      await arm(bench);
      const { instances } = await bench.agent.getGuest(GUEST);
      assert.deepEqual(instances[0]?.nics, []);
    }));

  it("stays, registered, where the journal does not take that", () =>
    withAgent(
      async (bench) => {
        await adopted(bench, "running");
        await attach(bench);
        await assert.rejects(detach(bench), { code: "UNAVAILABLE", reason: "JOURNAL_UNWRITABLE" });
        assert.equal(fdbOf(MAC_1), ENTRY_1);
        assert.equal((await attach(bench)).applied, Applied.ALREADY_SO);
      },
      (_devices, stateDirectory) => ({ journals: refusingWord("nicDetached", stateDirectory) }),
    ));

  it("is also one whose device is gone already", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      await attach(bench);
      run("ip", "link", "delete", "web1");
      assert.equal((await detach(bench)).applied, Applied.CHANGED);
      assert.equal(fdbOf(MAC), ENTRY);
    }));

  it("is refused for a guest that is not here, and for an id that is none", () =>
    withAgent(async (bench) => {
      await adopted(bench, "running");
      await assert.rejects(bench.agent.detachNic({ guestId: "db", instanceId: "", nicId: "net0" }), {
        code: "NOT_FOUND",
        reason: "GUEST_UNKNOWN",
      });
      await assert.rejects(detach(bench, "net/0"), { code: "INVALID_ARGUMENT", field: "nic_id" });
    }));
});

describe("a NIC that is detached while its guest moves", options, () => {
  it("is not in the source's word, and one that was attached meanwhile is", () => {
    const words: HandOff[] = [];
    return withAgent(
      async (bench) => {
        const vmm = await adopted(bench, "running");
        await attach(bench);
        await arm(bench);
        await detach(bench, "net0");
        const third = { ...second({ macAddress: macOf(2), deviceName: "web2" }), nicId: "net2" };
        await attach(bench, third);
        assert.equal(`${fdbOf(MAC)}, ${fdbOf(MAC_1)}, ${fdbOf(macOf(2))}`, `, ${ENTRY_1}, `);
        vmm.suffers({ kind: "stop" }, "finish-migrate");
        vmm.suffers(
          { kind: "migrationStatusChanged", status: "completed", statusText: "completed" },
          "postmigrate",
        );
        await eventually("the word", () => words[0]);
        assert.deepEqual(
          words[0]?.nics?.nics.map(({ nicId, macAddress }) => `${nicId} ${macAddress}`),
          [`net1 ${MAC_1}`, `net2 ${macOf(2)}`],
        );
      },
      () => ({ handOffs: { publish: (word) => void words.push(word), subscribe: () => () => {} } }),
    );
  });

  it("stays quarantined at the destination, with an alarm, also when the agent there comes back", () =>
    withWatchingAgent(async (bench) => {
      const vmm = await adopted(bench, "inmigrate");
      await attach(bench);
      await prepareIncoming(bench);
      vmm.suffers({ kind: "migrationStatusChanged", status: "completed", statusText: "completed" }, "paused");
      const handOff = wordOf([
        { nicId: "net0", macAddress: MAC },
        { nicId: "net5", macAddress: macOf(5) },
      ]);
      await bench.agent.deliverHandOff({ ...GUEST, fence: FENCE, handOff });
      await eventually("the start", () => (vmm.commands.includes("cont") ? true : undefined));
      const state = () => `${fdbOf(MAC)}, ${fdbOf(MAC_1)}, ${portOf("web1")}`;
      assert.equal(state(), `${ENTRY}, , ${QUARANTINED}`);
      await bench.agent.feedDrained(1_000);
      const alarm = bench.told.find(({ event }) => event?.$case === "alarmRaised")?.event;
      assert.ok(alarm?.$case === "alarmRaised" && alarm.value.reason === "NIC_SETS_DIFFER");
      assert.match(alarm.value.sentence, /net1.*net5/);
      await bench.restart();
      assert.equal(state(), `${ENTRY}, , ${QUARANTINED}`);
      run("bridge", "link", "set", "dev", "web1", "learning", "on");
      await eventually("the quarantine", () => (state() === `${ENTRY}, , ${QUARANTINED}` ? true : undefined));
      await assert.rejects(attach(bench), { code: "FAILED_PRECONDITION", reason: "NIC_WITHHELD" });
      await detach(bench);
      await attach(bench);
      assert.equal(state(), `${ENTRY}, ${ENTRY_1}, ${REGISTERED}`);
    }));
});
