import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openGracePeriods } from "../../agent/device/grace-periods.ts";
import type { MacvtapNic } from "../../agent/device/macvtap/definition.ts";
import type { TapOnBridgeNic } from "../../agent/device/tap-on-bridge/definition.ts";
import { HastenedStop } from "../../agent/instance/hastened-stop.ts";
import { parseMacAddress } from "../../proto/mac-address.ts";
import { armedGuest, residentGuest } from "./guest-gate.ts";

const TAP: TapOnBridgeNic = {
  type: "tapOnBridge",
  nicId: "net0",
  macAddress: parseMacAddress("52:54:00:00:00:01", ""),
  deviceName: "tap0",
  bridge: "br0",
  macTableManager: "switchover",
  sticky: "sticky",
};

const MACVTAP: MacvtapNic = {
  type: "macvtap",
  nicId: "net1",
  macAddress: parseMacAddress("52:54:00:00:00:02", ""),
  deviceName: "mv0",
  parent: "eth0",
  mode: "bridge",
};

/** A host's switch as a file, and what agents on that host make of it. */
function onHost(
  setting: string,
  body: (host: {
    readonly open: (bootId?: string) => ReturnType<typeof openGracePeriods>;
    readonly setting: () => string;
    readonly reboot: () => void;
    readonly warnings: string[];
    readonly memoPath: string;
    readonly switchPath: string;
  }) => void,
): () => void {
  return () => {
    const folder = mkdtempSync(join(tmpdir(), "grace-"));
    const switchPath = join(folder, "rcu_expedited");
    const memoPath = join(folder, "memo.json");
    const warnings: string[] = [];
    const write = () => {};
    const log = {
      debug: write,
      info: write,
      error: write,
      warn: (_: object, text: string) => warnings.push(text),
    };
    writeFileSync(switchPath, `${setting}\n`);
    try {
      body({
        open: (bootId = "boot-1") => openGracePeriods({ switchPath, memoPath, bootId, log }),
        setting: () => readFileSync(switchPath, "utf8").trim(),
        reboot: () => writeFileSync(switchPath, "0\n"),
        warnings,
        memoPath,
        switchPath,
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
}

describe("the kernel's grace periods", () => {
  it(
    "are short while somebody holds them so, and as the host has them after the last",
    onHost("0", (host) => {
      const gracePeriods = host.open();
      const ends = [gracePeriods.hasten(), gracePeriods.hasten()];
      assert.equal(host.setting(), "1");
      ends[0]?.();
      ends[0]?.();
      assert.equal(host.setting(), "1");
      ends[1]?.();
      assert.equal(host.setting(), "0");
      assert.equal(existsSync(host.memoPath), false);
    }),
  );

  it(
    "are put back by the next agent after one that was killed",
    onHost("0", (host) => {
      host.open().hasten();
      assert.equal(host.setting(), "1");
      host.open();
      assert.equal(host.setting(), "0");
    }),
  );

  it(
    "are left alone where the host has them short itself, also after that",
    onHost("1", (host) => {
      host.open().hasten()();
      assert.equal(host.setting(), "1");
      host.open();
      assert.equal(host.setting(), "1");
    }),
  );

  it(
    "of another boot are not put back: the host has set them since",
    onHost("0", (host) => {
      host.open().hasten();
      host.reboot();
      writeFileSync(host.switchPath, "1\n");
      host.open("boot-2");
      assert.equal(host.setting(), "1");
      assert.equal(existsSync(host.memoPath), false);
    }),
  );

  it(
    "are told once that they cannot be changed, and nothing fails",
    onHost("0", (host) => {
      const gracePeriods = host.open();
      rmSync(host.switchPath);
      gracePeriods.hasten()();
      gracePeriods.hasten()();
      assert.equal(host.warnings.length, 1);
    }),
  );
});

describe("an instance", () => {
  const clock = { unixUs: () => 0, after: () => () => {} };

  it(
    "with a macvtap holds them short from arming until it has handed off or was kept, one without does not",
    onHost("0", (host) => {
      const gracePeriods = host.open();
      const stop = new HastenedStop(gracePeriods, clock);
      const armed = armedGuest("live", "completed");
      stop.follow(armed, [TAP]);
      assert.equal(host.setting(), "0");
      stop.follow(armed, [TAP, MACVTAP]);
      stop.follow(armed, [TAP, MACVTAP]);
      assert.equal(host.setting(), "1");
      stop.follow(residentGuest("running"), [TAP, MACVTAP]);
      assert.equal(host.setting(), "0");
    }),
  );

  it(
    "lets go of them after an hour, however long it stays armed",
    onHost("0", (host) => {
      let fire = () => {};
      const limited = {
        unixUs: () => 0,
        after: (delayMs: number, then: () => void) => {
          assert.equal(delayMs, 3_600_000);
          fire = then;
          return () => {};
        },
      };
      const stop = new HastenedStop(host.open(), limited);
      stop.follow(armedGuest("live", "completed"), [MACVTAP]);
      fire();
      assert.equal(host.setting(), "0");
      stop.end();
      assert.equal(host.setting(), "0");
    }),
  );
});
