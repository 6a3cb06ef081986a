import type { HostId } from "../../proto/ids.ts";
import type { JsonObject } from "./qmp-codec.ts";

/** How this host's VMMs prove who they are to those of other hosts, and know them. */
export interface TransferCertificates {
  /**
   * Where the VMM finds ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem, by its own root
   * and as its own user. QEMU reads them anew for each migration.
   */
  readonly folder: string;
  /** The subject of a host's certificate as QEMU writes it, with `{host}` for its id ("OU=migration,CN={host}"). */
  readonly subject: string;
}

/** One transfer's TLS: a destination lets in the source's host alone, and a source sends to the destination's alone. */
export interface TransferTls {
  readonly side: "source" | "destination";
  readonly peer: HostId;
  readonly certificates: TransferCertificates;
}

const CREDENTIALS_ID = "switchover-tls";
const PEER_ID = "switchover-peer";
/** GnuTLS's words: TLS 1.3 and nothing older. */
const PRIORITY = "NORMAL:-VERS-ALL:+VERS-TLS1.3";

/** Whatever an earlier migration left in this VMM; QEMU refuses to remove what is not there. */
export const TRANSFER_TLS_OBJECTS = [PEER_ID, CREDENTIALS_ID] as const;

/** `object-add`, one after the other: `tls-creds-x509`, and at a destination `authz-simple`. */
export function encodeTlsObjects({ side, peer, certificates }: TransferTls): readonly JsonObject[] {
  const credentials = {
    "qom-type": "tls-creds-x509",
    id: CREDENTIALS_ID,
    dir: certificates.folder,
    endpoint: side === "source" ? "client" : "server",
    "verify-peer": true,
    priority: PRIORITY,
  };
  if (side === "source") return [credentials];
  const identity = certificates.subject.replaceAll("{host}", peer);
  return [credentials, { "qom-type": "authz-simple", id: PEER_ID, identity }];
}

/** `migrate-set-parameters`. A source finds the destination's id among the names of its certificate. */
export function encodeTlsParameters({ side, peer }: TransferTls): JsonObject {
  return side === "source"
    ? { "tls-creds": CREDENTIALS_ID, "tls-hostname": peer }
    : { "tls-creds": CREDENTIALS_ID, "tls-authz": PEER_ID };
}
