import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../services/log/log.ts";
import { type CertificatePaths, Certificates } from "../services/tls/certificates.ts";
import type { Role } from "../services/tls/roles.ts";
import type { Security } from "../services/tls/security.ts";
import { runCommand } from "./lab/command.ts";
import { repositoryRoot } from "./lab/repository-root.ts";

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };
const PROGRAM = join(repositoryRoot(), "deploy", "pki", "switchover-pki");

/** The private CA that `deploy/pki` makes, in a folder of the test's, which removes it. */
export class TrialPki {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(folder: string, ...flags: readonly string[]): Promise<TrialPki> {
    const pki = new TrialPki(folder);
    await pki.run("init", ...flags);
    return pki;
  }

  /** The script's output. */
  run(...args: readonly string[]): Promise<string> {
    return runCommand(PROGRAM, ["--dir", this.folder, ...args]);
  }

  async issue(role: Role, name: string, ...flags: readonly string[]): Promise<CertificatePaths> {
    await this.run("issue", role, name, ...flags);
    return this.pathsOf(role, name);
  }

  pathsOf(role: Role, name: string): CertificatePaths {
    const file = (base: string): string => join(this.folder, role, name, base);
    return { cert: file("tls.crt"), key: file("tls.key"), ca: file("ca.crt") };
  }

  /** How a program is told of a certificate that was issued. */
  flagsOf(role: Role, name: string): readonly string[] {
    const { cert, key, ca } = this.pathsOf(role, name);
    return ["--tls-cert", cert, "--tls-key", key, "--tls-ca", ca];
  }

  /**
   * What the script would never issue: any subject alternative names, and a life of any number of days; 0: it has ended as
   * soon as it is there.
   */
  async sign(name: string, subjectAltNames: string, days = 1): Promise<CertificatePaths> {
    const file = (ending: string): string => join(this.folder, `${name}.${ending}`);
    const openssl = (...args: readonly string[]) => runCommand("openssl", args);
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
    await openssl(
      "req",
      "-new",
      ...curve,
      "-subj",
      `/CN=${name}`,
      "-keyout",
      file("key"),
      "-out",
      file("csr"),
    );
    await writeFile(file("ext"), `subjectAltName = ${subjectAltNames}\n`);
    const authority = ["-CA", join(this.folder, "ca.crt"), "-CAkey", join(this.folder, "ca.key")];
    const serial = `0x${randomBytes(16).toString("hex")}`;
    const life = ["-set_serial", serial, "-days", String(days), "-extfile", file("ext")];
    await openssl("x509", "-req", "-in", file("csr"), ...authority, ...life, "-out", file("crt"));
    return { cert: file("crt"), key: file("key"), ca: join(this.folder, "ca.crt") };
  }

  /** For channels and servers of the test's own process; close it. */
  async security(role: Role, name: string): Promise<Extract<Security, { readonly t: "tls" }>> {
    const paths = await this.issue(role, name);
    return {
      t: "tls",
      certificates: Certificates.open({ paths, own: { roles: [role], name }, log: SILENT }),
    };
  }
}
