/** deploy/pki: a private CA for trials. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { readCredentials } from "../../services/tls/credentials.ts";
import { TrialPki } from "../trial-pki.ts";
import { newFolder } from "./program-process.ts";

const DAY_MS = 86_400_000;

function filesUnder(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

async function makePki(t: TestContext, ...flags: readonly string[]): Promise<TrialPki> {
  return TrialPki.make(join(await newFolder(t), "pki"), ...flags);
}

function certificateAt(...path: readonly string[]): X509Certificate {
  return new X509Certificate(readFileSync(join(...path)));
}

describe("switchover-pki", { timeout: 60_000 }, () => {
  test("issues what the programs take, for the role and name that were asked for", async (t) => {
    const pki = await makePki(t, "--trust-domain", "cloud.example");
    const paths = await pki.issue("agent", "ha", "--host", "10.0.0.1", "--host", "ha.example");
    const [cert, key, ca] = [paths.cert, paths.key, paths.ca].map((path) => readFileSync(path, "utf8"));
    const read = readCredentials({ cert: cert ?? "", key: key ?? "", ca: ca ?? "" }, Date.now());
    assert.ok("identity" in read, JSON.stringify(read));
    assert.deepEqual(read.identity, { trustDomain: "cloud.example", role: "agent", name: "ha" });
    const certificate = certificateAt(paths.cert);
    assert.equal(certificate.checkIP("10.0.0.1"), "10.0.0.1");
    assert.equal(certificate.checkHost("ha.example"), "ha.example");
    assert.ok(Math.abs(read.notAfterUnixMs - Date.now() - 7 * DAY_MS) < 60_000);
  });

  test("keeps keys to their owner, and never writes one wider", async (t) => {
    const pki = await makePki(t);
    await pki.issue("operator", "ann");
    await pki.run("issue", "migration", "ha", "--host", "10.0.0.1");
    const files = filesUnder(pki.folder);
    const keys = files.filter((path) => /key/.test(path));
    assert.equal(keys.length, 4);
    for (const path of files.filter((name) => !name.endsWith("/ca.crt") && !name.endsWith(".lock")))
      assert.equal(statSync(path).mode & 0o777, 0o600, path);
    assert.deepEqual(
      files.filter((path) => path.includes(".work") || path.endsWith(".new")),
      [],
    );
  });

  test("changes nothing when it is asked for the same again, and issues anew for other hosts", async (t) => {
    const pki = await makePki(t);
    const { cert } = await pki.issue("coordinator", "c1", "--host", "10.0.0.9");
    const contents = () => filesUnder(pki.folder).map((path) => [path, readFileSync(path, "utf8")]);
    const before = contents();
    await pki.run("init");
    await pki.issue("coordinator", "c1", "--host", "10.0.0.9");
    await pki.run("renew");
    assert.deepEqual(contents(), before);
    const first = certificateAt(cert).serialNumber;
    await pki.issue("coordinator", "c1", "--host", "10.0.0.8");
    assert.notEqual(certificateAt(cert).serialNumber, first);
  });

  test("renews with a new key and the same names what ends in time, and nothing else", async (t) => {
    const pki = await makePki(t);
    const short = await pki.issue("agent", "ha", "--host", "10.0.0.1", "--days", "2");
    const long = await pki.issue("agent", "hb", "--days", "30");
    const [shortBefore, longBefore] = [certificateAt(short.cert), certificateAt(long.cert)];
    await pki.run("renew", "--within-days", "5", "--days", "20");
    const renewed = certificateAt(short.cert);
    assert.notDeepEqual(
      renewed.publicKey.export({ type: "spki", format: "der" }),
      shortBefore.publicKey.export({ type: "spki", format: "der" }),
    );
    assert.equal(renewed.subjectAltName, shortBefore.subjectAltName);
    assert.ok(Date.parse(renewed.validTo) > Date.parse(shortBefore.validTo));
    assert.equal(certificateAt(long.cert).serialNumber, longBefore.serialNumber);
  });

  test("gives QEMU the files that it looks for, with the host's name", async (t) => {
    const pki = await makePki(t);
    await pki.run("issue", "migration", "hb", "--host", "10.0.0.2");
    const folder = join(pki.folder, "migration", "hb");
    const wanted = ["ca-cert.pem", "client-cert.pem", "client-key.pem", "server-cert.pem", "server-key.pem"];
    for (const name of wanted) assert.ok(readdirSync(folder).includes(name), name);
    const certificate = certificateAt(folder, "server-cert.pem");
    assert.equal(certificate.subject, "OU=migration\nCN=hb");
    assert.equal(certificate.checkHost("hb"), "hb");
  });

  test("asked twice at a time makes one CA and whole files", async (t) => {
    const folder = join(await newFolder(t), "pki");
    const pkis = await Promise.all([TrialPki.make(folder), TrialPki.make(folder)]);
    await Promise.all(pkis.map((pki, n) => pki.issue("agent", `h${n}`)));
    for (const n of [0, 1]) {
      const authority = certificateAt(folder, "ca.crt");
      assert.ok(certificateAt(folder, "agent", `h${n}`, "tls.crt").verify(authority.publicKey));
    }
  });

  test("refuses a wrong command line with a sentence, and makes nothing", async (t) => {
    const pki = await makePki(t);
    const before = filesUnder(pki.folder).length;
    for (const [args, words] of [
      [["issue", "root", "x"], /"root" is none of control-plane/],
      [["issue", "agent", "a/b"], /"a\/b" is not a name/],
      [["issue", "agent", "../x"], /is not a name/],
      [["issue", "agent"], /needs a ROLE and a NAME/],
      [["issue", "agent", "ha", "--host", "a,URI:spiffe://x/operator/y"], /neither a name nor an IP address/],
      [["issue", "agent", "ha", "--days", "0"], /not a number of days/],
      [["issue", "agent", "ha", "--bogus"], /--bogus is not a flag/],
      [["init", "--trust-domain", "other.example"], /is that of switchover\.test/],
      [["sign"], /"sign" is no command/],
      [[], /a command is required/],
    ] as const) {
      await assert.rejects(pki.run(...args), (error: Error) => words.test(error.message), args.join(" "));
    }
    assert.equal(filesUnder(pki.folder).length, before);
    assert.match(await pki.run("--help"), /^Usage: switchover-pki .*init.*issue.*renew/s);
  });
});
