import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Clock } from "../../agent/clock.ts";
import { openQmp, type QmpClient, type QmpEvent } from "../../agent/vmm/qmp-client.ts";
import { MAX_IN_BAND_ON_THE_WAY, MAX_WAITING, type QmpAnswer } from "../../agent/vmm/qmp-requests.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { type QmpScript, ScriptedQmpServer } from "./scripted-qmp-server.ts";

const OK = { value: {} };
const IN_TIME = { timeoutMs: 5_000 };
const STOP = { timestamp: { seconds: 100, microseconds: 7 }, event: "STOP" };
const RESUME = { timestamp: { seconds: 100, microseconds: 8 }, event: "RESUME" };

/** Counts a microsecond a reading, so that times show the order in which they were taken. */
function countingClock(): Clock {
  let unixUs = 200_000_000;
  return {
    unixUs: () => ++unixUs,
    after: (delayMs, fire) => {
      const timer = setTimeout(fire, delayMs);
      return () => clearTimeout(timer);
    },
  };
}

interface Connected {
  readonly server: ScriptedQmpServer;
  readonly client: QmpClient;
  readonly events: QmpEvent[];
  readonly closed: Promise<SwitchoverError>;
}

async function withClient(
  script: QmpScript,
  use: (connected: Connected) => Promise<void>,
  onEvent: (event: QmpEvent) => void = () => {},
): Promise<void> {
  const server = await ScriptedQmpServer.start(script);
  const events: QmpEvent[] = [];
  let tellClosed: (error: SwitchoverError) => void = () => {};
  const closed = new Promise<SwitchoverError>((resolve) => {
    tellClosed = resolve;
  });
  try {
    const client = await openQmp({
      path: server.path,
      connectTimeoutMs: 5_000,
      clock: countingClock(),
      onEvent: (event) => {
        events.push(event);
        onEvent(event);
      },
      onClosed: (error) => tellClosed(error),
    });
    await use({ server, client, events, closed }).finally(() => client.close());
  } finally {
    await server.end();
  }
}

function open(path: string, connectTimeoutMs: number): Promise<QmpClient> {
  return openQmp({ path, connectTimeoutMs, clock: countingClock(), onEvent: () => {}, onClosed: () => {} });
}

async function rejection(promise: Promise<unknown>): Promise<SwitchoverError> {
  const thrown: unknown = await promise.then(
    () => assert.fail("It was expected to reject."),
    (error: unknown) => error,
  );
  assert.ok(thrown instanceof SwitchoverError, String(thrown));
  return thrown;
}

/** Resolves once every data handler of what is already in the sockets has run. */
async function roundTrip({ client }: Connected): Promise<void> {
  await client.execute("ping", undefined, IN_TIME).catch(() => {});
}

describe("opening a QMP connection", () => {
  it("switches out-of-band commands on where they are offered", async () => {
    await withClient({ capabilities: ["oob"] }, async ({ server, client }) => {
      assert.deepEqual(server.negotiations, [{ enable: ["oob"] }]);
      assert.equal(client.outOfBand, "enabled");
      assert.deepEqual(client.version, { major: 7, minor: 2, micro: 22, packageText: "" });
    });
  });

  it("negotiates nothing where QEMU offers nothing", async () => {
    await withClient({ capabilities: [] }, async ({ server, client }) => {
      assert.deepEqual(server.negotiations, [undefined]);
      assert.equal(client.outOfBand, "not-offered");
    });
  });

  it("tells a socket that does not greet from one that is not there", async () => {
    const server = await ScriptedQmpServer.start({ greeting: "never" });
    try {
      const busy = await rejection(open(server.path, 50));
      assert.deepEqual([busy.code, busy.reason], ["UNAVAILABLE", "QMP_BUSY"]);
      const unreachable = await rejection(open(`${server.path}-none`, 5_000));
      assert.deepEqual([unreachable.code, unreachable.reason], ["UNAVAILABLE", "QMP_UNREACHABLE"]);
    } finally {
      await server.end();
    }
  });

  it("rejects when the negotiation is never answered", async () => {
    const server = await ScriptedQmpServer.start({ replies: { qmp_capabilities: "silence" } });
    try {
      const error = await rejection(open(server.path, 50));
      assert.deepEqual([error.code, error.reason], ["DEADLINE_EXCEEDED", "QMP_TIMEOUT"]);
    } finally {
      await server.end();
    }
  });

  it("rejects when the negotiation is refused or the other side does not speak QMP", async () => {
    for (const [script, reason] of [
      [{ replies: { qmp_capabilities: { refusal: "no" } } }, "QMP_REFUSED"],
      [{ greeting: "SSH-2.0-OpenSSH_9.2" }, "QMP_MALFORMED"],
    ] as const) {
      const server = await ScriptedQmpServer.start(script);
      try {
        assert.equal((await rejection(open(server.path, 5_000))).reason, reason);
      } finally {
        await server.end();
      }
    }
  });
});

describe("a QMP connection", () => {
  it("gives each of several pipelined commands its own answer, whatever their order", async () => {
    await withClient({ replies: { a: "silence", b: "silence" } }, async ({ server, client }) => {
      const a = client.execute("a", undefined, IN_TIME);
      const b = client.execute("b", { x: 1 }, IN_TIME);
      const [first, second] = [await server.command(1), await server.command(2)];
      assert.deepEqual([first.name, second.name, second.args], ["a", "b", { x: 1 }]);
      server.write({ return: "for b", id: second.id }, { return: "for a", id: first.id });
      assert.deepEqual(await Promise.all([a, b]), ["for a", "for b"]);
    });
  });

  it("sends out-of-band commands by exec-oob", async () => {
    await withClient({ replies: { "migrate-pause": OK } }, async ({ server, client }) => {
      await client.executeOutOfBand("migrate-pause", undefined, IN_TIME);
      assert.equal(server.received[0]?.band, "out-of-band");
    });
  });

  it("passes on QEMU's refusal in QEMU's words", async () => {
    await withClient(
      { replies: { migrate: { refusal: "There's a migration process in progress" } } },
      async (c) => {
        const error = await rejection(c.client.execute("migrate", { uri: "tcp:x:1" }, IN_TIME));
        assert.deepEqual([error.code, error.reason], ["FAILED_PRECONDITION", "QMP_REFUSED"]);
        assert.equal(error.metadata.desc, "There's a migration process in progress");
        assert.equal(error.metadata.class, "GenericError");
      },
    );
  });

  it("delivers events and answers of one read in the order written, all inside the data handler", async () => {
    const seen: string[] = [];
    const onEvent = (event: QmpEvent): void => {
      seen.push(event.name);
      queueMicrotask(() => seen.push(`after ${event.name}`));
    };
    await withClient(
      { replies: { cont: "silence" } },
      async (connected) => {
        const { server, client } = connected;
        client.send("cont", undefined, ({ kind }) => seen.push(`cont ${kind}`), IN_TIME);
        const { id } = await server.command(1);
        server.write(STOP, { return: {}, id }, RESUME);
        await roundTrip(connected);
        assert.deepEqual(seen, ["STOP", "cont done", "RESUME", "after STOP", "after RESUME"]);
      },
      onEvent,
    );
  });

  it("dates an event by QEMU's clock and by its own, and by its own alone where QEMU has none", async () => {
    await withClient({}, async (connected) => {
      connected.server.write(STOP, { timestamp: { seconds: -1, microseconds: -1 }, event: "RESUME" });
      await roundTrip(connected);
      const [stop, resume] = connected.events;
      assert.equal(stop?.atUnixUs, 100_000_007);
      assert.ok((stop?.receivedAtUnixUs ?? 0) > 200_000_000);
      assert.equal(resume?.atUnixUs, resume?.receivedAtUnixUs);
    });
  });

  it("calls a command that is not answered in time unknown, and ignores its late answer", async () => {
    await withClient({ replies: { cont: "silence", stop: OK } }, async (connected) => {
      const { server, client } = connected;
      const answers: QmpAnswer[] = [];
      const error = await new Promise<SwitchoverError>((resolve) =>
        client.send(
          "cont",
          undefined,
          (answer) => {
            answers.push(answer);
            if (answer.kind === "failed") resolve(answer.error);
          },
          { timeoutMs: 20 },
        ),
      );
      assert.deepEqual([error.code, error.reason], ["DEADLINE_EXCEEDED", "QMP_TIMEOUT"]);
      assert.equal(error.metadata.outcome, "unknown");
      server.write({ return: {}, id: server.received[0]?.id });
      await client.execute("stop", undefined, IN_TIME);
      assert.equal(answers.length, 1);
    });
  });

  it("does not give up on an answer that waits in the socket behind a stalled event loop", async () => {
    await withClient({ replies: { stop: "silence" } }, async ({ server, client }) => {
      const stop = client.execute("stop", undefined, { timeoutMs: 30 });
      const { id } = await server.command(1);
      server.write({ return: "in time", id });
      const end = performance.now() + 60;
      while (performance.now() < end);
      assert.equal(await stop, "in time");
    });
  });

  it("has no more commands on the way than QEMU reads, and lets out-of-band ones pass", async () => {
    await withClient({ replies: { slow: "silence", "migrate-pause": OK } }, async ({ server, client }) => {
      const count = MAX_IN_BAND_ON_THE_WAY + 2;
      const all = Promise.all(
        Array.from({ length: count }, () => client.execute("slow", undefined, IN_TIME)),
      );
      await client.executeOutOfBand("migrate-pause", undefined, IN_TIME);
      assert.equal(server.received.filter(({ name }) => name === "slow").length, MAX_IN_BAND_ON_THE_WAY);
      const served = new Set<number>();
      for (let turn = 1; served.size < count; turn += 1) {
        const command = await server.command(turn);
        if (command.name !== "slow") continue;
        served.add(command.id);
        server.write({ return: {}, id: command.id });
      }
      await all;
    });
  });

  it("says of a command that never left that it was not sent", async () => {
    await withClient({ replies: { slow: "silence" } }, async ({ server, client }) => {
      for (let sent = 0; sent < MAX_IN_BAND_ON_THE_WAY; sent += 1)
        client.send("slow", undefined, () => {}, IN_TIME);
      const waiting = await rejection(client.execute("cont", undefined, { timeoutMs: 20 }));
      assert.equal(waiting.metadata.outcome, "not-sent");
      assert.equal(
        server.received.some(({ name }) => name === "cont"),
        false,
      );
    });
  });

  it("refuses more commands than it can keep", async () => {
    await withClient({ replies: { slow: "silence" } }, async ({ client }) => {
      for (let sent = 0; sent < MAX_IN_BAND_ON_THE_WAY + MAX_WAITING; sent += 1) {
        client.send("slow", undefined, () => {}, IN_TIME);
      }
      const error = await rejection(client.execute("slow", undefined, IN_TIME));
      assert.deepEqual([error.code, error.reason], ["RESOURCE_EXHAUSTED", "QMP_QUEUE_FULL"]);
    });
  });

  it("ends every pending command, and then says so, when QEMU goes", async () => {
    await withClient({ replies: { slow: "silence" } }, async ({ server, client, closed }) => {
      const pending = [
        rejection(client.execute("slow", undefined, IN_TIME)),
        rejection(client.execute("slow", undefined, IN_TIME)),
      ];
      await server.command(2);
      server.hangUp();
      const ends = [...(await Promise.all(pending)), await closed];
      assert.deepEqual(
        ends.map(({ code, reason }) => [code, reason]),
        Array(3).fill(["UNAVAILABLE", "QMP_CLOSED"]),
      );
      assert.equal((await rejection(client.execute("slow", undefined, IN_TIME))).reason, "QMP_CLOSED");
    });
  });

  it("ends when a line is not QMP", async () => {
    await withClient({}, async ({ server, closed }) => {
      server.write("{garbage");
      const error = await closed;
      assert.equal(error.reason, "QMP_CLOSED");
      assert.match(error.message, /not JSON/);
    });
  });

  it("is not reported as closed to the owner who closes it", async () => {
    const server = await ScriptedQmpServer.start({ replies: { slow: "silence" } });
    try {
      const client = await openQmp({
        path: server.path,
        connectTimeoutMs: 5_000,
        clock: countingClock(),
        onEvent: () => {},
        onClosed: () => assert.fail("It was closed by its owner."),
      });
      const pending = rejection(client.execute("slow", undefined, IN_TIME));
      await server.command(1);
      client.close();
      client.close();
      assert.equal((await pending).reason, "QMP_CLOSED");
    } finally {
      await server.end();
    }
  });

  it("answers no command before the call that sends it has returned", async () => {
    await withClient({}, async ({ client }) => {
      client.close();
      let returned = false;
      await new Promise<void>((resolve) => {
        client.send(
          "cont",
          undefined,
          (answer) => {
            assert.equal(answer.kind, "failed");
            assert.equal(returned, true);
            resolve();
          },
          IN_TIME,
        );
        returned = true;
      });
    });
  });
});
