/** Certificates that are replaced while programs run. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connect, createServer, type TLSSocket } from "node:tls";
import { connectivityState, type MethodDefinition } from "@grpc/grpc-js";
import { openChannel } from "../../services/grpc/channel.ts";
import { type CertificatePaths, Certificates } from "../../services/tls/certificates.ts";
import { TrialPki } from "../trial-pki.ts";
import { newFolder } from "./program-process.ts";
import { openTlsGround, outcomeOf, recordLog, SERVICES } from "./tls-call.ts";

const DESCRIBE = SERVICES.host.definition.describe as unknown as MethodDefinition<never, unknown>;
const TEST = { timeout: 60_000 };

async function openFiles(t: TestContext, pollMs = 3_600_000) {
  const pki = await TrialPki.make(join(await newFolder(t), "pki"));
  const paths = await pki.issue("agent", "ha");
  const recorded = recordLog();
  const own = { roles: ["agent"], name: "ha" } as const;
  const certificates = Certificates.open({ paths, own, log: recorded.log, pollMs });
  t.after(() => certificates.close());
  const serialNow = (): string => String(certificates.current.contextOptions.cert);
  return { pki, paths, recorded, certificates, serialNow };
}

/** The serial of the certificate that a new connection is shown. */
async function shownSerial(target: string, { cert, key, ca }: CertificatePaths): Promise<string> {
  const socket: TLSSocket = connect({
    host: "127.0.0.1",
    port: Number(target.split(":").at(-1)),
    cert: readFileSync(cert),
    key: readFileSync(key),
    ca: readFileSync(ca),
    ALPNProtocols: ["h2"],
    checkServerIdentity: () => undefined,
  });
  await once(socket, "secureConnect");
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

test("a server shows a renewed certificate to new connections, and the old ones live on", TEST, async (t) => {
  const ground = await openTlsGround(t);
  const client = await ground.channel("observer");
  assert.equal(await outcomeOf(client, DESCRIBE), "OK");
  const observer = await ground.pki.issue("observer", "o2");
  const before = await shownSerial(ground.target, observer);

  await ground.pki.run("renew", "--within-days", "9999");
  await ground.security.certificates.reread();
  const after = await shownSerial(ground.target, await ground.pki.issue("observer", "o3"));
  assert.notEqual(after, before);

  assert.equal(client.getChannel().getConnectivityState(false), connectivityState.READY);
  assert.equal(await outcomeOf(client, DESCRIBE), "OK");
});

test(
  "a server believes a new authority after its file was replaced, and the old one no more",
  TEST,
  async (t) => {
    const ground = await openTlsGround(t);
    const old = await ground.channel("observer", "o1");
    assert.equal(await outcomeOf(old, DESCRIBE), "OK");
    // Another CA of the same trust domain takes over, with all that it issues.
    for (const file of ["ca.crt", "ca.key"]) rmSync(join(ground.pki.folder, file));
    await ground.pki.run("init");
    await ground.pki.run("renew");
    await ground.security.certificates.reread();
    assert.equal(await outcomeOf(await ground.channel("observer", "o2"), DESCRIBE), "OK");
    assert.equal(await outcomeOf(old, DESCRIBE), "OK", "a connection that stands lives on");
  },
);

test("a channel shows its renewed certificate when it connects anew", TEST, async (t) => {
  const { pki, certificates } = await openFiles(t);
  const shown: string[] = [];
  const { contextOptions } = (await pki.security("coordinator", "c1")).certificates.current;
  const server = createServer({ ...contextOptions, requestCert: true, ALPNProtocols: ["h2"] });
  server.on("secureConnection", (socket) => {
    socket.on("error", () => {});
    shown.push(socket.getPeerCertificate().serialNumber);
    socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const target = `127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  const security = { t: "tls", certificates } as const;
  const client = openChannel(target, { retriedServices: [], security, peer: { roles: ["coordinator"] } });
  t.after(() => {
    client.close();
    server.close();
  });
  await outcomeOf(client, DESCRIBE);
  await pki.run("renew", "--within-days", "9999");
  await certificates.reread();
  const seenBefore = new Set(shown);
  while (shown.every((serial) => seenBefore.has(serial))) await outcomeOf(client, DESCRIBE);
  assert.equal(new Set(shown).size, seenBefore.size + 1);
});

test("what is put in place is found within the poll's interval", TEST, async (t) => {
  const { pki, recorded } = await openFiles(t, 20);
  await pki.run("renew", "--within-days", "9999");
  const line = await recorded.line(({ msg }) => msg.startsWith("New connections use the certificate"));
  assert.equal(line.identity, "spiffe://switchover.test/agent/ha");
});

test(
  "broken files leave the last ones in use, raise one alarm, and are forgotten once they are mended",
  TEST,
  async (t) => {
    const { pki, paths, recorded, certificates, serialNow } = await openFiles(t);
    const good = serialNow();
    const alarms = (): number => recorded.lines.filter(({ alarm }) => alarm === "CERTIFICATE_REFUSED").length;
    const stranger = await pki.issue("agent", "hb");
    const whole = readFileSync(paths.cert, "utf8");
    const breakages: readonly (readonly [string, () => void, RegExp])[] = [
      ["half a file", () => writeFileSync(paths.cert, whole.slice(0, 100)), /no certificate in PEM/],
      ["another's key", () => copyFileSync(stranger.key, paths.key), /is not the certificate's/],
      ["no key", () => writeFileSync(paths.key, ""), /no private key/],
      ["no file", () => rmSync(paths.ca), /cannot be read/],
      [
        "somebody else",
        () => {
          copyFileSync(stranger.cert, paths.cert);
          copyFileSync(stranger.key, paths.key);
        },
        /is that of spiffe:\/\/switchover.test\/agent\/hb, not of spiffe:\/\/switchover.test\/agent\/ha/,
      ],
    ];
    const kept = { cert: whole, key: readFileSync(paths.key, "utf8"), ca: readFileSync(paths.ca, "utf8") };
    let raised = 0;
    for (const [what, breakThem, words] of breakages) {
      breakThem();
      for (let look = 0; look < 4; look += 1) await certificates.reread();
      raised += 1;
      assert.equal(alarms(), raised, what);
      assert.match(recorded.lines.at(-1)?.msg ?? "", words, what);
      assert.equal(serialNow(), good, what);
      assert.notEqual(certificates.refused, undefined, what);
      for (const part of ["cert", "key", "ca"] as const) writeFileSync(paths[part], kept[part]);
      await certificates.reread();
      assert.equal(certificates.refused, undefined, what);
    }
  },
);

test("files that are replaced one after the other raise no alarm", TEST, async (t) => {
  const { pki, paths, recorded, certificates, serialNow } = await openFiles(t);
  const before = serialNow();
  const next = await (await TrialPki.make(`${pki.folder}-2`)).issue("agent", "ha");
  for (const part of ["ca", "key", "cert"] as const) {
    copyFileSync(next[part], paths[part]);
    await certificates.reread();
  }
  assert.notEqual(serialNow(), before);
  assert.deepEqual(
    recorded.lines.filter(({ alarm }) => alarm !== undefined),
    [],
  );
});

test("that a certificate ends soon and was not renewed is told once", TEST, async (t) => {
  const { recorded, certificates } = await openFiles(t);
  t.mock.timers.enable({ apis: ["Date"], now: certificates.current.notAfterUnixMs - 86_400_000 });
  for (let look = 0; look < 3; look += 1) await certificates.reread();
  assert.equal(recorded.lines.filter(({ alarm }) => alarm === "CERTIFICATE_ENDS").length, 1);
});
