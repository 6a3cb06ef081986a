import type { HostId } from "../../proto/ids.ts";
import type { Host } from "../host.ts";
import type { TransferTls } from "../vmm/transfer-tls.ts";

/** How a guest's stream to or from that host is secured; undefined where this agent was told that it is not. */
export function transferTls(host: Host, side: TransferTls["side"], peer: HostId): TransferTls | undefined {
  const { transferCertificates: certificates } = host.ports;
  return certificates === undefined ? undefined : { side, peer, certificates };
}
