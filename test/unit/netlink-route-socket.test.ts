import assert from "node:assert/strict";
import { test } from "node:test";
import type { NetlinkEndpoint } from "../../agent/netlink/endpoint.ts";
import {
  decodeMessages,
  encodeMessage,
  type NetlinkMessage,
  patchSequence,
} from "../../agent/netlink/message.ts";
import { encodeBatch } from "../../agent/netlink/route-batch.ts";
import type { RouteRequest } from "../../agent/netlink/route-request.ts";
import { routeSocketOn } from "../../agent/netlink/route-socket.ts";
import { SwitchoverError } from "../../proto/error.ts";

const LOST = new SwitchoverError("UNAVAILABLE", "Lost.", { reason: "ENOBUFS" });
const DELETE: RouteRequest = { op: "deleteLink", ifindex: 4 };

/** An endpoint that answers each datagram as `answer` says, in this order; `drained` counts its drains. */
function endpointOf(
  answer: (sent: readonly NetlinkMessage[]) => readonly (Uint8Array | SwitchoverError)[],
): NetlinkEndpoint & { drained: number } {
  let waiting: (Uint8Array | SwitchoverError)[] = [];
  return {
    drained: 0,
    send(datagram) {
      waiting.push(...answer(decodeMessages(datagram.slice())));
    },
    receive() {
      const next =
        waiting.shift() ?? new SwitchoverError("DEADLINE_EXCEEDED", "None.", { reason: "NETLINK_TIMEOUT" });
      if (next instanceof SwitchoverError) throw next;
      return next;
    },
    drain() {
      waiting = [];
      this.drained++;
    },
    close: () => undefined,
  };
}

function verdict(sequence: number, errno: number): Uint8Array {
  const body = new Uint8Array(Int32Array.of(-errno, 0, 0, 0, 0).buffer);
  return withSequence(encodeMessage(2, 0x100, body), sequence);
}

function withSequence(bytes: Uint8Array, sequence: number): Uint8Array {
  patchSequence(new DataView(bytes.buffer), 0, sequence);
  return bytes;
}

test("answers find their requests, in whatever order they come", () => {
  const route = routeSocketOn(
    endpointOf((sent) =>
      sent.toReversed().map(({ sequence }) => verdict(sequence, sequence % 2 === 0 ? 19 : 0)),
    ),
  );
  const results = route.execute(encodeBatch([DELETE, DELETE, DELETE]));
  assert.deepEqual(
    results.map((result) => (result.ok ? "ok" : result.name)),
    ["ok", "ENODEV", "ok"],
  );
});

test("several answers in one datagram are all read", () => {
  const route = routeSocketOn(
    endpointOf((sent) => [Buffer.concat(sent.map(({ sequence }) => verdict(sequence, 0)))]),
  );
  assert.equal(route.execute(encodeBatch([DELETE, DELETE])).length, 2);
});

test("a late answer to an abandoned batch is not taken for one of this batch", () => {
  let abandoned = 0;
  const endpoint = endpointOf((sent) => {
    const [first] = sent;
    if (first === undefined) return [];
    if (abandoned === 0) {
      abandoned = first.sequence;
      return [LOST];
    }
    return [verdict(abandoned, 1), verdict(first.sequence, 0)];
  });
  const route = routeSocketOn(endpoint);
  const batch = encodeBatch([DELETE]);
  assert.throws(() => route.execute(batch), { code: "UNAVAILABLE", reason: "ENOBUFS" });
  assert.equal(endpoint.drained, 1);
  assert.deepEqual(route.execute(batch), [{ ok: true, messages: [] }]);
});

test("no answer at all is an exceeded deadline", () => {
  const route = routeSocketOn(endpointOf(() => []));
  assert.throws(() => route.execute(encodeBatch([DELETE])), { code: "DEADLINE_EXCEEDED" });
});

test("an endpoint that never stops talking about something else is given up on", () => {
  const route = routeSocketOn({
    send: () => undefined,
    receive: () => verdict(0x7fff_0000, 0),
    drain: () => undefined,
    close: () => undefined,
  });
  assert.throws(() => route.execute(encodeBatch([DELETE])), { reason: "NETLINK_STRAYS" });
});

test("an interrupted dump is asked again, and given up on if it never holds still", () => {
  let interruptions = 2;
  let asked = 0;
  const done = (sequence: number, flags: number): Uint8Array =>
    withSequence(encodeMessage(3, flags, new Uint8Array(4)), sequence);
  const route = routeSocketOn(
    endpointOf((sent) => {
      asked++;
      return [done(sent[0]?.sequence ?? 0, interruptions-- > 0 ? 0x12 : 0x2)];
    }),
  );
  assert.deepEqual(route.dump({ op: "dumpLinks" }), []);
  assert.equal(asked, 3);
  interruptions = 100;
  assert.throws(() => route.dump({ op: "dumpLinks" }), { code: "UNAVAILABLE", reason: "DUMP_INTERRUPTED" });
});
