import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { invalidArgument, type SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log/log.ts";
import {
  type CredentialFault,
  type Credentials,
  type CredentialTexts,
  readCredentials,
} from "./credentials.ts";
import { uriOf } from "./identity.ts";
import type { Role } from "./roles.ts";

export interface CertificatePaths {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** Whose certificate a program may have: a name where only one is right, as of an agent its host's. */
export interface OwnIdentity {
  readonly roles: readonly Role[];
  readonly name?: string;
}

export interface CertificateOptions {
  readonly paths: CertificatePaths;
  readonly own: OwnIdentity;
  readonly log: Log;
  /** How often the files are read for a change; default 5,000. */
  readonly pollMs?: number;
}

const POLL_MS = 5_000;
/** Of a certificate's life: what is left when it is to be told that nobody renewed it. */
const LAST_PART = 0.2;
const FLAGS: Readonly<Record<keyof CertificatePaths, string>> = {
  cert: "--tls-cert",
  key: "--tls-key",
  ca: "--tls-ca",
};

type Found = CredentialTexts | { readonly unreadable: CredentialFault };

/**
 * A program's certificate, key and authorities from three files. What was replaced there is in use within `pollMs`, for
 * new connections. Files that do not fit together, cannot be read or speak for somebody else at two looks in a row leave
 * the last ones in use, with an error in the log, and are looked at again.
 */
export class Certificates {
  readonly #options: CertificateOptions;
  readonly #listeners = new Set<(credentials: Credentials) => void>();
  readonly #timer: NodeJS.Timeout;
  #current: Credentials;
  /** What was judged last, whatever came of it: a fault is told once. */
  #judged: string;
  /** What was found wrong at one look: somebody may just be replacing one file after another. */
  #doubted: string | undefined;
  #refused: CredentialFault | undefined;
  #reading: Promise<void> | undefined;
  #ending: "told" | "far" = "far";

  private constructor(options: CertificateOptions, texts: CredentialTexts, current: Credentials) {
    this.#options = options;
    this.#judged = JSON.stringify(texts);
    this.#current = current;
    this.#timer = setInterval(() => void this.reread(), options.pollMs ?? POLL_MS);
    this.#timer.unref();
    this.#tellEnding();
  }

  /** Throws INVALID_ARGUMENT naming the flag where the files cannot be used. */
  static open(options: CertificateOptions): Certificates {
    const { paths } = options;
    const texts = { cert: textOf(paths, "cert"), key: textOf(paths, "key"), ca: textOf(paths, "ca") };
    const read = readCredentials(texts, Date.now());
    if ("fault" in read) throw refusal(paths, read.fault);
    const fault = faultOfOwner(read, options.own);
    if (fault !== undefined) throw refusal(paths, fault);
    return new Certificates(options, texts, read);
  }

  get current(): Credentials {
    return this.#current;
  }

  /** What keeps the files from being used as they are now; undefined where they are in use. */
  get refused(): CredentialFault | undefined {
    return this.#refused;
  }

  onChange(listener: (credentials: Credentials) => void): void {
    this.#listeners.add(listener);
  }

  /** Looks at the files; resolves when what they say is in use, doubted or refused. Never rejects. */
  reread(): Promise<void> {
    this.#reading ??= this.#reread().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#listeners.clear();
  }

  async #reread(): Promise<void> {
    this.#tellEnding();
    const found = await findTexts(this.#options.paths);
    const look = JSON.stringify(found);
    if (look === this.#judged) return;
    const read = "unreadable" in found ? { fault: found.unreadable } : readCredentials(found, Date.now());
    const fault = "fault" in read ? read.fault : this.#faultOfSuccessor(read);
    if (fault === undefined && !("fault" in read)) this.#take(read);
    else if (look === this.#doubted) this.#refuse(fault as CredentialFault);
    else {
      this.#doubted = look;
      return;
    }
    this.#judged = look;
  }

  #take(credentials: Credentials): void {
    this.#refused = undefined;
    this.#ending = "far";
    this.#current = credentials;
    for (const listener of this.#listeners) listener(credentials);
    const { identity, notAfterUnixMs } = credentials;
    const fields = { identity: uriOf(identity), not_after: new Date(notAfterUnixMs).toISOString() };
    this.#options.log.info(fields, "New connections use the certificate that was put in place.");
  }

  #refuse(fault: CredentialFault): void {
    this.#refused = fault;
    const { log, paths } = this.#options;
    const fields = { alarm: "CERTIFICATE_REFUSED", path: paths[fault.part] };
    log.error(
      fields,
      `The new certificate files are not used, and the last ones are: ${sentenceOf(paths, fault)}`,
    );
  }

  /** Who a program is does not change while it runs. */
  #faultOfSuccessor(successor: Credentials): CredentialFault | undefined {
    const [was, is] = [uriOf(this.#current.identity), uriOf(successor.identity)];
    return was === is ? undefined : { part: "cert", sentence: `is that of ${is}, not of ${was}.` };
  }

  #tellEnding(): void {
    const { notBeforeUnixMs, notAfterUnixMs } = this.#current;
    const leftMs = notAfterUnixMs - Date.now();
    if (this.#ending === "told" || leftMs > (notAfterUnixMs - notBeforeUnixMs) * LAST_PART) return;
    this.#ending = "told";
    const fields = { alarm: "CERTIFICATE_ENDS", not_after: new Date(notAfterUnixMs).toISOString() };
    this.#options.log.warn(fields, "The certificate is about to end, and nobody has renewed it.");
  }
}

async function findTexts({ cert, key, ca }: CertificatePaths): Promise<Found> {
  let part: keyof CertificatePaths = "cert";
  const read = (which: typeof part, path: string): Promise<string> => {
    part = which;
    return readFile(path, "utf8");
  };
  try {
    return { cert: await read("cert", cert), key: await read("key", key), ca: await read("ca", ca) };
  } catch (thrown) {
    return { unreadable: { part, sentence: unreadable(thrown) } };
  }
}

function textOf(paths: CertificatePaths, part: keyof CertificatePaths): string {
  try {
    return readFileSync(paths[part], "utf8");
  } catch (thrown) {
    throw refusal(paths, { part, sentence: unreadable(thrown) });
  }
}

function unreadable(thrown: unknown): string {
  return `cannot be read: ${thrown instanceof Error ? thrown.message : String(thrown)}.`;
}

function faultOfOwner({ identity }: Credentials, { roles, name }: OwnIdentity): CredentialFault | undefined {
  if (roles.includes(identity.role) && (name === undefined || name === identity.name)) return undefined;
  const wanted = `${roles.join(" or ")}${name === undefined ? "" : `/${name}`}`;
  return { part: "cert", sentence: `is that of ${uriOf(identity)}, not of ${wanted}.` };
}

function sentenceOf(paths: CertificatePaths, { part, sentence }: CredentialFault): string {
  return `"${paths[part]}" ${sentence}`;
}

function refusal(paths: CertificatePaths, fault: CredentialFault): SwitchoverError {
  const flag = FLAGS[fault.part];
  return invalidArgument(flag, `${flag}: ${sentenceOf(paths, fault)}`, "CERTIFICATE_REFUSED");
}
