import type { HostCatalogue, LiveHost } from "../../coordinator/inventory/host-catalogue.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import type { HostId } from "../../proto/ids.ts";
import { HOST_BUCKET } from "../../proto/subjects.ts";
import { Bucket } from "./bucket.ts";
import { scanBucket } from "./bucket-scan.ts";
import type { NatsLink } from "./connection.ts";

/** HostCatalogue on the host bucket; a record that cannot be read is left out. */
export class NatsHostCatalogue implements HostCatalogue {
  readonly #link: NatsLink;
  readonly #bucket: Bucket;

  constructor(link: NatsLink) {
    this.#link = link;
    this.#bucket = new Bucket(link, HOST_BUCKET);
  }

  async *hosts(): AsyncGenerator<LiveHost, void, undefined> {
    const scan = { what: "Hosts were not listed", keys: ">", of: "values" } as const;
    for await (const { value, storedAtUnixMs } of scanBucket(this.#link, HOST_BUCKET, scan)) {
      const record = readRecord(value);
      if (record !== null) yield { record, storedAtUnixMs };
    }
  }

  async host(hostId: HostId): Promise<LiveHost | null> {
    const entry = await this.#bucket.get({ key: hostId, name: `The record of host ${hostId}` });
    if (entry === null) return null;
    const record = readRecord(entry.value);
    return record === null ? null : { record, storedAtUnixMs: entry.created.getTime() };
  }
}

function readRecord(value: Uint8Array): HostRecord | null {
  try {
    return HostRecord.fromJSON(JSON.parse(Buffer.from(value).toString("utf8")));
  } catch {
    return null;
  }
}
