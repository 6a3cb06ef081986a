import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { ExpeditedRoute } from "../../agent/device/expedited-route.ts";
import { type GracePeriods, openGracePeriods } from "../../agent/device/grace-periods.ts";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import type { RouteRequest } from "../../agent/netlink/route-request.ts";
import { PretendedKernel } from "./device-pretended-kernel.ts";

interface HostSwitch {
  open(bootId?: string): GracePeriods;
  setting(): string;
  set(setting: string): void;
  readonly warnings: string[];
  readonly memoPath: string;
  readonly switchPath: string;
}

/** A host's switch as a file. */
function onHost(setting: string, body: (host: HostSwitch) => void): () => void {
  return () => {
    const folder = mkdtempSync(join(tmpdir(), "grace-"));
    const switchPath = join(folder, "rcu_expedited");
    const memoPath = join(folder, "memo");
    const warnings: string[] = [];
    const write = () => {};
    const log = {
      debug: write,
      info: write,
      error: write,
      warn: (_: object, text: string) => void warnings.push(text),
    };
    const set = (to: string) => writeFileSync(switchPath, `${to}\n`);
    set(setting);
    try {
      body({
        open: (bootId = "boot-1") => openGracePeriods({ switchPath, memoPath, bootId, log }),
        setting: () => readFileSync(switchPath, "utf8").trim(),
        set,
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
    "are short while it works for us, and as the host has them after, also where the work throws",
    onHost("0", (host) => {
      const gracePeriods = host.open();
      assert.equal(
        gracePeriods.shorten(() => host.setting()),
        "1",
      );
      assert.equal(host.setting(), "0");
      assert.throws(() =>
        gracePeriods.shorten(() => {
          throw new Error("refused");
        }),
      );
      assert.equal(host.setting(), "0");
      gracePeriods.close();
      assert.equal(existsSync(host.memoPath), false);
    }),
  );

  it(
    "stay short until the last who holds them lets go",
    onHost("0", (host) => {
      const gracePeriods = host.open();
      const [first, second] = [gracePeriods.hold(), gracePeriods.hold()];
      gracePeriods.shorten(() => {});
      first();
      assert.equal(host.setting(), "1");
      second();
      assert.equal(host.setting(), "0");
    }),
  );

  it(
    "are put back by an agent that ends while somebody holds them",
    onHost("0", (host) => {
      const gracePeriods = host.open();
      const release = gracePeriods.hold();
      gracePeriods.close();
      assert.equal(host.setting(), "0");
      host.set("1");
      release();
      assert.equal(host.setting(), "1");
    }),
  );

  it(
    "are put back by the next agent after one that was killed meanwhile",
    onHost("0", (host) => {
      host.open().shorten(() => {
        host.open();
        assert.equal(host.setting(), "0");
      });
    }),
  );

  it(
    "are left alone where the host has them short itself",
    onHost("1", (host) => {
      const gracePeriods = host.open();
      gracePeriods.shorten(() => {});
      assert.equal(host.setting(), "1");
      host.open();
      assert.equal(host.setting(), "1");
      gracePeriods.close();
      assert.equal(host.setting(), "1");
    }),
  );

  it(
    "of another boot are not put back: the host has set them since",
    onHost("0", (host) => {
      host.open().ready();
      host.set("1");
      host.open("boot-2");
      assert.equal(host.setting(), "1");
      assert.equal(existsSync(host.memoPath), false);
    }),
  );

  it(
    "are told once that they cannot be changed, and the work is done",
    onHost("0", (host) => {
      const gracePeriods = host.open();
      rmSync(host.switchPath);
      assert.equal(
        gracePeriods.shorten(() => "done"),
        "done",
      );
      gracePeriods.shorten(() => {});
      assert.equal(host.warnings.length, 1);
    }),
  );
});

describe("a route with short grace periods", () => {
  const requests: readonly [string, RouteRequest][] = [
    ["shortened", { op: "setLink", ifindex: 2, change: { state: "down" } }],
    ["shortened", { op: "deleteLink", ifindex: 2 }],
    ["plain", { op: "setLink", ifindex: 2, change: { state: "up" } }],
    ["plain", { op: "getLink", name: "tap0" }],
  ];
  for (const [how, request] of requests) {
    it(`carries ${JSON.stringify(request)} out ${how}`, () => {
      const done: string[] = [];
      const gracePeriods: GracePeriods = {
        ready: () => void done.push("ready"),
        shorten: (work) => {
          done.push("shortened");
          return work();
        },
        hold: () => () => {},
        close: () => {},
      };
      const route = new ExpeditedRoute(new PretendedKernel(), gracePeriods);
      const batch = encodeBatch([request]);
      route.ready(batch);
      assert.equal(route.execute(batch).length, 1);
      assert.deepEqual(done, how === "shortened" ? ["ready", "shortened"] : []);
    });
  }
});
