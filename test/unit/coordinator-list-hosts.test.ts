import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { HostCatalogue, LiveHost } from "../../coordinator/inventory/host-catalogue.ts";
import { getHost, listHosts } from "../../coordinator/inventory/list-hosts.ts";
import { ListHostsRequest } from "../../proto/gen/switchover/v1/migration_service.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";

const NOW_MS = 1_795_456_900_000;
const now = () => NOW_MS;

/** Hosts in any order, one of which beats again while it is read. */
function catalogueOf(hostIds: readonly string[], storedAtUnixMs = NOW_MS - 2_500): HostCatalogue {
  const hosts = hostIds.map(
    (hostId): LiveHost => ({
      record: HostRecord.create({ hostId, target: `${hostId}:7443`, version: "0.1.0", capabilities: ["x"] }),
      storedAtUnixMs,
    }),
  );
  return {
    hosts: async function* () {
      yield* hosts;
      yield* hosts.slice(0, 1);
    },
    host: async (hostId) => hosts.find(({ record }) => record.hostId === hostId) ?? null,
  };
}

async function pages(catalogue: HostCatalogue, pageSize: number): Promise<string[][]> {
  const seen: string[][] = [];
  let pageToken = "";
  do {
    const page = await listHosts(catalogue, { pageSize, pageToken }, now);
    seen.push(page.hosts.map(({ hostId }) => hostId));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return seen;
}

describe("ListHosts and GetHost", () => {
  it("list each host that lives once, by id, page by page", async () => {
    const catalogue = catalogueOf(["hc", "ha", "H", "hb", "_x"]);
    assert.deepEqual(await pages(catalogue, 2), [["H", "_x"], ["ha", "hb"], ["hc"]]);
    assert.deepEqual(await pages(catalogue, 5), [["H", "_x", "ha", "hb", "hc"]]);
    assert.deepEqual(await pages(catalogueOf([]), 5), [[]]);
  });

  it("tell a heartbeat's age, which is never below zero", async () => {
    const { host } = await getHost(catalogueOf(["ha"]), { hostId: "ha" }, now);
    assert.deepEqual([host?.heartbeatAgeMs, host?.capabilities, host?.target], [2_500n, ["x"], "ha:7443"]);
    const ahead = await getHost(catalogueOf(["ha"], NOW_MS + 5), { hostId: "ha" }, now);
    assert.equal(ahead.host?.heartbeatAgeMs, 0n);
  });

  it("refuse what can never be, and a host that does not live", async () => {
    const catalogue = catalogueOf(["ha", "hb"]);
    await assert.rejects(getHost(catalogue, { hostId: "hx" }, now), {
      code: "NOT_FOUND",
      reason: "HOST_UNKNOWN",
      field: "host_id",
    });
    await assert.rejects(getHost(catalogue, { hostId: "" }, now), {
      code: "INVALID_ARGUMENT",
      field: "host_id",
    });
    for (const [field, asked] of [
      ["page_size", { pageSize: 501 }],
      ["page_token", { pageToken: "x" }],
    ] as const) {
      await assert.rejects(listHosts(catalogue, ListHostsRequest.create(asked), now), {
        code: "INVALID_ARGUMENT",
        field,
      });
    }
  });
});
