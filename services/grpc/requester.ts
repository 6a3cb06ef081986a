import type { Requester } from "../../proto/gen/switchover/v1/migration.ts";
import type { CallContext } from "./call-context.ts";

/** What a caller says of itself is kept up to here. */
const USER_AGENT_LENGTH_AT_MOST = 256;

/** Who makes the call, as far as the call tells; `identity` alone is proven. */
export function requesterOf({
  identity,
  peer,
  metadata,
}: Pick<CallContext, "identity" | "peer" | "metadata">): Requester {
  const userAgent = metadata.get("user-agent").map(String).join(" ");
  return {
    peer: gRpcPeerOf(peer),
    userAgent: userAgent.slice(0, USER_AGENT_LENGTH_AT_MOST),
    identity,
    drainId: "",
  };
}

/** grpc-js leaves out the scheme of an address that has a port. */
function gRpcPeerOf(peer: string): string {
  if (/^(unix|ipv4|ipv6):/.test(peer)) return peer;
  if (/^\d+(\.\d+){3}:\d+$/.test(peer)) return `ipv4:${peer}`;
  return peer.includes(":") ? `ipv6:${peer}` : peer;
}
