import type { Host } from "../../proto/gen/switchover/v1/host.ts";
import type {
  GetHostRequest,
  GetHostResponse,
  ListHostsRequest,
  ListHostsResponse,
} from "../../proto/gen/switchover/v1/migration_service.ts";
import { parseHostId } from "../../proto/ids.ts";
import { hostUnknown } from "../host-unknown.ts";
import { FirstOnes } from "./first-ones.ts";
import type { HostCatalogue, LiveHost } from "./host-catalogue.ts";
import { parsePageSize } from "./list-migrations.ts";
import { decodePageToken, encodePageToken } from "./page-token.ts";

/** Hosts are listed without a filter. */
const NO_FILTER = new Uint8Array();

/** One page of the hosts that live, by id: it holds no more of them than that page. */
export async function listHosts(
  catalogue: HostCatalogue,
  asked: ListHostsRequest,
  nowUnixMs: () => number,
): Promise<ListHostsResponse> {
  const pageSize = parsePageSize(asked.pageSize);
  const after = decodePageToken(asked.pageToken, NO_FILTER, (text) => parseHostId(text, "page_token"));
  const first = new FirstOnes<LiveHost>(
    pageSize,
    ({ record }) => record.hostId,
    (left, right) => (left.record.hostId < right.record.hostId ? -1 : 1),
  );
  for await (const host of catalogue.hosts()) {
    if (after === null || host.record.hostId > after) first.offer(host);
  }
  const hosts = first.items.map((host) => hostOf(host, nowUnixMs()));
  const last = first.others === "some" ? hosts.at(-1) : undefined;
  return { hosts, nextPageToken: last === undefined ? "" : encodePageToken(last.hostId, NO_FILTER) };
}

/** NOT_FOUND / HOST_UNKNOWN for a host that does not live. */
export async function getHost(
  catalogue: HostCatalogue,
  asked: GetHostRequest,
  nowUnixMs: () => number,
): Promise<GetHostResponse> {
  const hostId = parseHostId(asked.hostId, "host_id");
  const found = await catalogue.host(hostId);
  if (found === null) throw hostUnknown(hostId, "host_id");
  return { host: hostOf(found, nowUnixMs()) };
}

function hostOf({ record, storedAtUnixMs }: LiveHost, nowUnixMs: number): Host {
  const { hostId, target, version, heartbeatAtUnixUs, capabilities } = record;
  // Two clocks may differ by more than the heartbeat is old.
  const heartbeatAgeMs = BigInt(Math.max(0, Math.round(nowUnixMs - storedAtUnixMs)));
  return { hostId, target, version, heartbeatAtUnixUs, heartbeatAgeMs, capabilities };
}
