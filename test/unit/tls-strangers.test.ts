/** Who does not get in at all: refused by TLS, before a byte of HTTP/2. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, connect as connectPlain, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import type { MethodDefinition } from "@grpc/grpc-js";
import { openChannel } from "../../services/grpc/channel.ts";
import { callUnary } from "../../services/grpc/unary.ts";
import type { CertificatePaths } from "../../services/tls/certificates.ts";
import { TrialPki } from "../trial-pki.ts";
import { newFolder } from "./program-process.ts";
import { openTlsGround, openUnchecked, outcomeOf, SERVICES, type TlsGround } from "./tls-call.ts";

const DESCRIBE = SERVICES.host.definition.describe as unknown as MethodDefinition<never, unknown>;
const RESPONSE_MS = 10_000;

function portOf({ target }: TlsGround): number {
  return Number(target.split(":").at(-1));
}

function contextOf({ cert, key, ca }: CertificatePaths): ConnectionOptions {
  return { cert: readFileSync(cert), key: readFileSync(key), ca: readFileSync(ca) };
}

/** Resolves when the connection is closed, however it ends; rejects where it is not in time. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("The connection is open.")), RESPONSE_MS);
    socket.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** How a connection that TLS refuses ends: once it is closed, with all that the server sent. */
async function bytesUntilRefused(ground: TlsGround, options: ConnectionOptions): Promise<number> {
  const socket: TLSSocket = connect({
    host: "127.0.0.1",
    port: portOf(ground),
    ALPNProtocols: ["h2"],
    rejectUnauthorized: false,
    ...options,
  });
  let bytes = 0;
  socket.on("data", (part) => (bytes += part.length));
  socket.on("error", () => {});
  socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  await closed(socket);
  return bytes;
}

async function assertRefused(
  t: TestContext,
  ground: TlsGround,
  reason: string,
  options: ConnectionOptions,
): Promise<void> {
  const before = ground.refusals.length;
  assert.equal(await bytesUntilRefused(ground, options), 0);
  const audit = await ground.recorded.line((line) => line.reason === reason);
  assert.equal(audit.audit, "connection-refused");
  assert.equal(audit.grpc_peer, "127.0.0.1");
  assert.deepEqual(ground.refusals.slice(before), [reason]);
  t.diagnostic(`${reason}: ${String(audit.cause)}`);
}

describe("a server behind TLS refuses", { timeout: 60_000 }, () => {
  test("whoever shows no certificate", async (t) => {
    const ground = await openTlsGround(t);
    await assertRefused(t, ground, "NO_CERTIFICATE", {});
  });

  test("a certificate that another authority has issued, whatever it says", async (t) => {
    const ground = await openTlsGround(t);
    const other = await TrialPki.make(join(await newFolder(t), "other"));
    const forged = await other.issue("coordinator", "c1");
    await assertRefused(t, ground, "CERTIFICATE_NOT_TRUSTED", contextOf(forged));
  });

  test("a certificate that has ended", async (t) => {
    const ground = await openTlsGround(t);
    const ended = await ground.pki.sign("old", "URI:spiffe://switchover.test/coordinator/c1", 0);
    // Its second is to be over.
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    await assertRefused(t, ground, "CERTIFICATE_EXPIRED", contextOf(ended));
  });

  test("TLS 1.2", async (t) => {
    const ground = await openTlsGround(t);
    const good = await ground.pki.issue("coordinator", "c1");
    await assertRefused(t, ground, "TLS_TOO_OLD", { ...contextOf(good), maxVersion: "TLSv1.2" });
  });

  test("whoever speaks something else than HTTP/2 inside", async (t) => {
    const ground = await openTlsGround(t);
    const good = await ground.pki.issue("coordinator", "c1");
    const before = ground.refusals.length;
    assert.equal(await bytesUntilRefused(ground, { ...contextOf(good), ALPNProtocols: ["http/1.1"] }), 0);
    assert.ok(["NOT_GRPC", "HANDSHAKE_FAILED"].includes(String(ground.refusals[before])));
  });

  test("plain text, and ends a connection that says nothing", async (t) => {
    const ground = await openTlsGround(t);
    const talker = connectPlain(portOf(ground), "127.0.0.1");
    const silent = connectPlain(portOf(ground), "127.0.0.1");
    for (const socket of [talker, silent]) socket.on("error", () => {}).resume();
    talker.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    await Promise.all([closed(talker), closed(silent)]);
    assert.deepEqual([...ground.refusals].sort(), ["HANDSHAKE_TIMEOUT", "NOT_TLS"]);
  });

  test("and none of them keeps out those who may come in", async (t) => {
    const ground = await openTlsGround(t);
    const silent = Array.from({ length: 200 }, () => connectPlain(portOf(ground), "127.0.0.1"));
    for (const socket of silent) socket.on("error", () => {});
    await Promise.all(silent.map((socket) => once(socket, "connect")));
    assert.equal(await outcomeOf(await ground.channel("observer"), DESCRIBE), "OK");
    for (const socket of silent) socket.destroy();
  });
});

describe("a channel with certificates", { timeout: 60_000 }, () => {
  test("sends nothing to a server of another authority, nor to one without TLS", async (t) => {
    const ground = await openTlsGround(t);
    const other = await openTlsGround(t);
    const sent: Buffer[] = [];
    const plain = createServer((socket) =>
      socket.on("data", (part) => sent.push(part)).on("error", () => {}),
    );
    plain.listen(0, "127.0.0.1");
    await once(plain, "listening");
    t.after(() => plain.close());
    const silentTarget = `127.0.0.1:${(plain.address() as AddressInfo).port}`;
    const security = await ground.pki.security("coordinator", "c1");
    for (const [target, words] of [
      [other.target, /self-signed certificate|unable to verify/],
      [silentTarget, /no TLS handshake within 5000 ms/],
    ] as const) {
      const client = openChannel(target, { retriedServices: [], security, peer: { roles: ["agent"] } });
      t.after(() => client.close());
      const call = callUnary(client, SERVICES.host.definition.describe, {}, { timeoutMs: RESPONSE_MS });
      await assert.rejects(call, { code: "UNAVAILABLE", message: words });
    }
    // A ClientHello, and no request.
    assert.ok(
      Buffer.concat(sent)
        .subarray(0, 1)
        .equals(Buffer.from([0x16])),
    );
    assert.ok(!Buffer.concat(sent).includes("Describe"));
    security.certificates.close();
  });

  test("does without a session ticket, which would outlive the authorities of today", async (t) => {
    const ground = await openTlsGround(t);
    const good = await ground.pki.issue("observer", "o1");
    let sessions = 0;
    const socket = connect({
      ...contextOf(good),
      host: "127.0.0.1",
      port: portOf(ground),
      ALPNProtocols: ["h2"],
      checkServerIdentity: () => undefined,
    });
    const resumable: Buffer[] = [];
    socket.on("session", (session) => {
      sessions += 1;
      resumable.push(session);
    });
    await once(socket, "secureConnect");
    await once(socket, "data");
    socket.destroy();
    const again = connect({
      ...contextOf(good),
      host: "127.0.0.1",
      port: portOf(ground),
      ALPNProtocols: ["h2"],
      checkServerIdentity: () => undefined,
      ...(resumable[0] === undefined ? {} : { session: resumable[0] }),
    });
    await once(again, "secureConnect");
    assert.equal(again.isSessionReused(), false, `${sessions} sessions were offered`);
    again.destroy();
  });

  test("calls as an unchecked program does where its certificate is good", async (t) => {
    const ground = await openTlsGround(t);
    const client = openUnchecked(t, ground.target, await ground.pki.issue("observer", "o1"));
    assert.equal(await outcomeOf(client, DESCRIBE), "OK");
  });
});
