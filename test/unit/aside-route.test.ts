import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Log } from "../../agent/log.ts";
import { AsideRoute } from "../../agent/netlink/aside-route.ts";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import type { RoutePort } from "../../agent/netlink/route-port.ts";

/** A thread that never takes anything. */
const DEAF = new URL("data:text/javascript,setInterval(() => {}, 1000)");
const DYING = new URL("data:text/javascript,throw new Error('dead')");

const down = (ifindex: number) =>
  encodeBatch([{ op: "setLink", ifindex, change: { state: "down" } } as const]);
const up = (ifindex: number) => encodeBatch([{ op: "setLink", ifindex, change: { state: "up" } } as const]);
const look = (ifindex: number) => encodeBatch([{ op: "getLink", ifindex } as const]);

interface Asked {
  readonly done: string[];
  readonly hurries: () => number;
  readonly route: AsideRoute;
  readonly warnings: readonly string[];
}

async function withRoute(program: URL, body: (asked: Asked) => Promise<void>): Promise<void> {
  const done: string[] = [];
  const warnings: string[] = [];
  const write = () => {};
  const log: Log = {
    debug: write,
    info: write,
    error: write,
    warn: (_: object, text: string) => void warnings.push(text),
  };
  const kernel: RoutePort = {
    execute: ({ requests }) =>
      requests.map((request) => {
        const state = request.op === "setLink" ? request.change.state : "looked at";
        done.push(`${"ifindex" in request ? request.ifindex : ""} ${state}`);
        return { ok: true, messages: [] };
      }),
    ready: () => {},
    dump: () => [],
  };
  let hurries = 0;
  const hurry = () => {
    hurries += 1;
    return () => {
      hurries -= 1;
    };
  };
  const route = new AsideRoute({ route: kernel, hurry, log, program });
  try {
    await body({ done, hurries: () => hurries, route, warnings });
  } finally {
    route.close();
  }
}

describe("what is put off", () => {
  it("is done before a later change of its device, and holds up no other, nor who only looks", () =>
    withRoute(DEAF, async ({ done, hurries, route }) => {
      route.executeSoon(down(2));
      route.executeSoon(down(3));
      route.execute(up(4));
      route.execute(look(2));
      assert.deepEqual(done, ["4 up", "2 looked at"]);
      route.execute(up(3));
      assert.deepEqual(done.splice(0), ["4 up", "2 looked at", "3 down", "3 up"]);
      await nextTurn();
      assert.equal(hurries(), 1);
      route.execute(up(2));
      assert.deepEqual(done, ["2 down", "2 up"]);
      assert.equal(hurries(), 0);
    }));

  it("is done when the route is closed", () =>
    withRoute(DEAF, async ({ done, route }) => {
      route.executeSoon(down(2));
      route.close();
      assert.deepEqual(done, ["2 down"]);
    }));

  it("is done in the caller's thread from then on where the other one is lost, which is told", () =>
    withRoute(DYING, async ({ done, hurries, route, warnings }) => {
      route.executeSoon(down(2));
      while (done.length === 0) await nextTurn();
      assert.deepEqual(done, ["2 down"]);
      assert.match(warnings.join(), /^The thread that takes devices down is lost/);
      route.executeSoon(down(3));
      await nextTurn();
      assert.deepEqual(done, ["2 down", "3 down"]);
      assert.equal(hurries(), 0);
    }));
});
