import { invalidArgument } from "../../proto/error.ts";
import { parsePath } from "../config/parsers.ts";
import type { Fault, Values } from "../config/read-settings.ts";
import { onOff, optional } from "../config/setting.ts";
import type { Log } from "../log/log.ts";
import { Certificates, type OwnIdentity } from "./certificates.ts";
import { isLoopback } from "./loopback.ts";
import { PLAINTEXT, type Security } from "./security.ts";

/** What every program that speaks gRPC can be told of it. */
export const TLS_SETTINGS = {
  "tls-cert": optional(parsePath, "with --tls-key and --tls-ca", {
    placeholder: "PATH",
    help: "Certificate in PEM, and those between it and its authority; read again when it is replaced",
  }),
  "tls-key": optional(parsePath, "with --tls-cert and --tls-ca", {
    placeholder: "PATH",
    help: "Its private key in PEM",
  }),
  "tls-ca": optional(parsePath, "with --tls-cert and --tls-key", {
    placeholder: "PATH",
    help: "Authorities in PEM whose certificates are believed",
  }),
  "insecure-loopback": onOff("Speak gRPC without TLS, and with nobody but this host"),
};

export type TlsValues = Values<typeof TLS_SETTINGS>;

const FILES = ["tls-cert", "tls-key", "tls-ca"] as const;

/** `targets`: where the program listens, and where it says that it does. */
export function checkTlsValues(
  values: TlsValues,
  targets: readonly (readonly [string, string])[],
): readonly Fault[] {
  const given = FILES.filter((name) => values[name] !== undefined);
  if (values["insecure-loopback"] === "off") {
    if (given.length === 0) {
      const sentence =
        "--tls-cert, --tls-key and --tls-ca are required; or --insecure-loopback, where all who speak to each other are on this host.";
      return [{ name: "--tls-cert", sentence }];
    }
    return FILES.filter((name) => values[name] === undefined).map((name) => ({
      name: `--${name}`,
      sentence: `--${name} is required: --${given.join(" and --")} ${given.length === 1 ? "needs" : "need"} it.`,
    }));
  }
  const [also] = given;
  if (also !== undefined) {
    const sentence = `--insecure-loopback and --${also} exclude each other.`;
    return [{ name: "--insecure-loopback", sentence }];
  }
  return targets
    .filter(([, target]) => !isLoopback(target))
    .map(([flag, target]) => ({
      name: flag,
      sentence: `${flag}: ${target} is not on this host alone, and --insecure-loopback is for nothing else.`,
    }));
}

/**
 * What the values ask for, and nothing weaker. Throws INVALID_ARGUMENT, naming the flag, for files that cannot be used, and
 * for what `checkTlsValues` finds.
 */
export function openSecurity(values: TlsValues, own: OwnIdentity, log: Log): Security {
  const [fault] = checkTlsValues(values, []);
  if (fault !== undefined) throw invalidArgument(fault.name, fault.sentence, "REQUIRED");
  const { "tls-cert": cert, "tls-key": key, "tls-ca": ca } = values;
  if (cert === undefined || key === undefined || ca === undefined) return PLAINTEXT;
  return { t: "tls", certificates: Certificates.open({ paths: { cert, key, ca }, own, log }) };
}

export function closeSecurity(security: Security): void {
  if (security.t === "tls") security.certificates.close();
}
