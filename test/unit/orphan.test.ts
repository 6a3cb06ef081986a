import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { removeOrphans } from "../../agent/call/remove-orphans.ts";
import type { Host } from "../../agent/host.ts";
import { InstanceTable } from "../../agent/instance/instance-table.ts";
import type { Link } from "../../agent/netlink/link.ts";
import type { FdbEntry } from "../../agent/netlink/neighbour.ts";
import { findOrphans, type Orphan } from "../../agent/orphan/find-orphans.ts";
import { OrphanReaper } from "../../agent/orphan/orphan-reaper.ts";
import { keyOf, Orphans } from "../../agent/orphan/orphans.ts";
import { SwitchoverError } from "../../proto/error.ts";
import {
  OrphanKind,
  Orphan as OrphanMessage,
  RemoveOrphansRequest,
} from "../../proto/gen/switchover/v1/host_agent_service.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { readSettings } from "../../services/config/read-settings.ts";
import { orphans as orphansCommand } from "../../services/switchoverctl/orphans.ts";
import { checkOrphansValues, ORPHANS_SETTINGS } from "../../services/switchoverctl/orphans-settings.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";

const MAC = parseMacAddress("52:54:00:00:00:01", "");

function tap(ifindex: number, change: Partial<Link> = {}): Link {
  return {
    ifindex,
    name: `tap${ifindex}`,
    state: "up",
    operState: "down",
    carrier: "off",
    mtu: 1500,
    txQueueLength: 1000,
    masterIfindex: 1,
    alias: "switchover",
    ...change,
  };
}

function entryOn(ifindex: number, change: Partial<FdbEntry> = {}): FdbEntry {
  return { ifindex, macAddress: MAC, state: "static", sticky: "sticky", masterIfindex: 1, ...change };
}

const BRIDGE = tap(1, { name: "br0", alias: "" });

function found(links: readonly Link[], entries: readonly FdbEntry[] = [], known: readonly string[] = []) {
  return findOrphans([BRIDGE, ...links], entries, new Set(known)).map((orphan) =>
    [
      orphan.kind === "device" ? "device" : orphan.macAddress,
      orphan.deviceName,
      orphan.bridge ?? "-",
      orphan.use,
    ].join(" "),
  );
}

describe("orphans are", () => {
  it("devices with Switchover's alias that serve no known NIC, and the static entries on them", () => {
    assert.deepEqual(found([tap(2), tap(3)], [entryOn(2), entryOn(3)], ["tap3"]), [
      `${MAC} tap2 br0 free`,
      "device tap2 br0 free",
    ]);
  });

  it("plain static entries too, for bridges where entries may roam", () => {
    assert.equal(found([tap(2)], [entryOn(2, { sticky: "plain" })])[0], `${MAC} tap2 br0 free`);
  });

  it("entries in VLANs too, but no copies that the kernel made of one in no VLAN and removes with it", () => {
    const entries = [entryOn(2), entryOn(2, { vlan: 1 }), entryOn(3, { vlan: 1 })];
    assert.deepEqual(found([tap(2), tap(3)], entries).slice(0, 2), [
      `${MAC} tap2 br0 free`,
      `${MAC} tap3 br0 free`,
    ]);
  });

  it("marked as held where a process has the device open", () => {
    assert.deepEqual(found([tap(2, { carrier: "on" })]), ["device tap2 br0 held"]);
  });

  for (const [what, links, entries] of [
    ["a device without the alias, and a static entry on it", [tap(2, { alias: "mine" })], [entryOn(2)]],
    ["a device that says nothing of itself", [{ ...BRIDGE, ifindex: 2, name: "tap2" }], []],
  ] as const) {
    it(`never ${what}`, () => assert.deepEqual(found(links, entries), []));
  }

  for (const [what, change] of [
    ["learned entries", { state: "dynamic" }],
    ["the addresses of the host itself", { state: "permanent" }],
  ] as const) {
    it(`not ${what}`, () =>
      assert.deepEqual(found([tap(2)], [entryOn(2, change)]), ["device tap2 br0 free"]));
  }

  it("told without a bridge where the device is off it", () => {
    const { masterIfindex: _gone, ...loose } = tap(2);
    assert.deepEqual(found([loose]), ["device tap2 - free"]);
  });
});

it("an orphan's entries in several VLANs are told apart, and each is removed in its own", async () => {
  const kernel = new PretendedKernel();
  kernel.addBridge("br0", { vlanFiltering: "on" });
  kernel.create({ deviceName: "tap0" });
  const ifindex = kernel.link("tap0")?.ifindex ?? 0;
  const masterIfindex = kernel.link("br0")?.ifindex ?? 0;
  kernel.change("tap0", { masterIfindex, alias: "switchover", portVlans: [7, 9] });
  for (const vlan of [7, 9]) {
    const request = { op: "replaceFdbEntry", ifindex, macAddress: MAC, vlan, sticky: "sticky" } as const;
    kernel.execute({ requests: [request] });
  }
  const quiet = () => {};
  const orphans = new Orphans({
    route: kernel,
    instances: new InstanceTable(),
    unreadGuests: new Set(),
    clock: {
      unixUs: () => 0,
      after: (_delayMs, fire) => {
        setImmediate(fire);
        return quiet;
      },
    },
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  });
  const [first, second, ...rest] = await orphans.list();
  assert.ok(first && second);
  assert.notEqual(keyOf(first), keyOf(second));
  assert.deepEqual(await orphans.remove([first]), [first]);
  assert.equal(kernel.renderEntries(), `br0 ${MAC} vlan 9 tap0 static sticky`);
  assert.deepEqual(await orphans.remove([second, ...rest]), [second, ...rest]);
  assert.equal(kernel.renderEntries(), "");
  assert.equal(kernel.link("tap0"), undefined);
});

/** A reaper over a list of orphans that a test changes, on a clock that a test moves. */
function reaping(afterMs: number) {
  let present: Orphan[] = [];
  const removed: string[] = [];
  const timers: { delayMs: number; fire: () => void }[] = [];
  const complaints: string[] = [];
  let fault: SwitchoverError | null = null;
  const reaper = new OrphanReaper({
    orphans: {
      list: async () => {
        if (fault !== null) throw fault;
        return present;
      },
      remove: async (wanted) => {
        removed.push(...wanted.map(({ deviceName }) => deviceName));
        present = present.filter((orphan) => !wanted.includes(orphan));
        return wanted;
      },
    },
    afterMs,
    clock: {
      unixUs: () => 0,
      after: (delayMs, fire) => {
        const timer = { delayMs, fire };
        timers.push(timer);
        return () => void timers.splice(timers.indexOf(timer), 1);
      },
    },
    log: { debug() {}, info() {}, warn: (_fields, sentence) => void complaints.push(sentence), error() {} },
  });
  return {
    reaper,
    removed,
    complaints,
    timers,
    shows: (...orphans: Orphan[]) => {
      present = orphans;
    },
    fails: (with_: SwitchoverError | null) => {
      fault = with_;
    },
    /** The next look, and how long it was waited for. */
    async look(): Promise<number> {
      await settle();
      const timer = timers.shift();
      timer?.fire();
      await settle();
      return timer?.delayMs ?? -1;
    },
  };
}

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

const ORPHAN: Orphan = { kind: "device", deviceName: "tap2", ifindex: 2, bridge: "br0", use: "free" };

describe("the removal of orphans after a time", () => {
  it("takes what was an orphan at every look for so long, and not before", async () => {
    const { look, removed, shows } = reaping(1_000);
    shows(ORPHAN);
    for (const _look of [1, 2, 3, 4]) {
      assert.equal(await look(), 250);
      assert.deepEqual(removed, []);
    }
    await look();
    assert.deepEqual(removed, ["tap2"]);
  });

  it("counts anew for what was a guest's meanwhile, and for a device that was made again", async () => {
    const { look, removed, shows } = reaping(500);
    shows(ORPHAN);
    for (const _look of [1, 2, 3, 4]) await look();
    shows();
    await look();
    shows(ORPHAN);
    for (const _look of [1, 2, 3, 4]) await look();
    shows({ ...ORPHAN, ifindex: 9 });
    for (const _look of [1, 2, 3, 4]) await look();
    assert.deepEqual(removed, []);
  });

  it("leaves what a process holds open", async () => {
    const { look, removed, shows } = reaping(500);
    shows({ ...ORPHAN, use: "held" });
    for (let count = 0; count < 20; count++) await look();
    assert.deepEqual(removed, []);
  });

  it("goes on after a look that failed, and ends with its agent", async () => {
    const { complaints, fails, look, reaper, shows, timers } = reaping(500);
    shows(ORPHAN);
    fails(new SwitchoverError("UNAVAILABLE", "busy.", { reason: "ENOBUFS" }));
    await look();
    assert.deepEqual(complaints, ["Orphans could not be looked for: busy."]);
    fails(null);
    assert.equal(await look(), 125);
    reaper.close();
    assert.deepEqual(timers, []);
  });
});

describe("what a caller has removed", () => {
  const seen: readonly Orphan[] = findOrphans([BRIDGE, tap(2), tap(3)], [entryOn(2)], new Set());

  async function removedBy(request: Partial<RemoveOrphansRequest>) {
    const removed: Orphan[] = [];
    const orphans = {
      list: async () => seen,
      remove: async (wanted: readonly Orphan[]) => {
        removed.push(...wanted);
        return wanted;
      },
    };
    const host = { orphans } as unknown as Host;
    const answer = await removeOrphans(host, RemoveOrphansRequest.create(request));
    return { names: removed.map(({ deviceName }) => deviceName), told: answer.orphans.length };
  }

  it("is what it names, or all where it says so", async () => {
    assert.deepEqual(await removedBy({ deviceNames: ["tap3"] }), { names: ["tap3"], told: 1 });
    assert.deepEqual(await removedBy({ all: true }), { names: ["tap2", "tap2", "tap3"], told: 3 });
    assert.deepEqual(await removedBy({ all: true, validateOnly: true }), { names: [], told: 3 });
  });

  it("is nothing where it says neither, or both", async () => {
    for (const validateOnly of [false, true]) {
      await assert.rejects(removedBy({ validateOnly }), {
        code: "INVALID_ARGUMENT",
        reason: "REQUIRED",
        field: "device_names",
      });
      await assert.rejects(removedBy({ deviceNames: ["tap3"], all: true, validateOnly }), {
        code: "INVALID_ARGUMENT",
        reason: "NAMES_AND_ALL",
        field: "all",
      });
    }
  });
});

describe("switchoverctl orphans", () => {
  const messages: readonly OrphanMessage[] = [
    {
      kind: OrphanKind.FDB_ENTRY,
      deviceName: "tap2",
      interfaceIndex: 2,
      bridge: "br0",
      macAddress: MAC,
    },
    { kind: OrphanKind.DEVICE, deviceName: "tap2", interfaceIndex: 2, bridge: "", macAddress: "" },
  ];

  async function run(...argv: string[]) {
    const reading = readSettings(ORPHANS_SETTINGS, ["--agent", "10.0.0.1:7443", ...argv], {});
    assert.equal(reading.t, "settings");
    const asked: unknown[] = [];
    let text = "";
    const client = {
      listOrphans: async () => messages,
      removeOrphans: async (request: unknown) => {
        asked.push(request);
        return messages;
      },
    };
    const code = await orphansCommand(reading.values, client, { write: (part) => (text += part) });
    return { code, text, asked };
  }

  it("shows them, and asks for nothing to be removed", async () => {
    const { code, text, asked } = await run();
    assert.deepEqual([code, asked], [0, []]);
    assert.equal(text, `entry ${MAC} -> tap2 on br0\ndevice tap2\n`);
  });

  it("removes what is named, and exits 1 when some of it stays", async () => {
    const { code, text, asked } = await run("--remove", "tap2", "--remove", "tap3");
    assert.deepEqual(asked, [{ deviceNames: ["tap2", "tap3"], all: false, validateOnly: false }]);
    assert.equal(code, 1);
    assert.match(text, /^removed device tap2$/m);
    assert.match(text, /^tap3 stays/m);
  });

  it("only says what it would remove with --dry-run", async () => {
    const { code, text, asked } = await run("--all", "--dry-run", "--json");
    assert.deepEqual(asked, [{ deviceNames: [], all: true, validateOnly: true }]);
    assert.equal(code, 0);
    assert.deepEqual(
      text
        .trim()
        .split("\n")
        .map((line) => OrphanMessage.fromJSON(JSON.parse(line))),
      messages,
    );
  });

  for (const [argv, fault] of [
    [["--all", "--remove", "tap2"], "--all"],
    [["--dry-run"], "--dry-run"],
  ] as const) {
    it(`refuses ${argv.join(" ")}`, () => {
      const reading = readSettings(ORPHANS_SETTINGS, ["--agent", "10.0.0.1:7443", ...argv], {});
      assert.equal(reading.t, "settings");
      assert.deepEqual(
        checkOrphansValues(reading.values).map(({ name }) => name),
        [fault],
      );
    });
  }
});
