import type { SpoolSegment, SpoolStore } from "../../agent/feed/spool-store.ts";
import { SwitchoverError } from "../../proto/error.ts";

/** A spool's disk in memory, which outlives the store's users and can lose what was not synced. */
export class PretendedSpoolStore implements SpoolStore {
  readonly #segments = new Map<number, { bytes: Buffer; synced: number }>();
  disk: "takes all" | "is full" = "takes all";
  /** A slow disk: `sync` waits for this. */
  beforeSync: () => Promise<void> = async () => {};
  syncs = 0;
  appends = 0;

  segments(): readonly SpoolSegment[] {
    return [...this.#segments]
      .sort(([left], [right]) => left - right)
      .map(([number, { bytes }]) => ({ number, bytes: bytes.length }));
  }

  read(segment: number, fromByte: number, bytes: number): Uint8Array {
    return this.#find(segment).bytes.subarray(fromByte, fromByte + bytes);
  }

  append(segment: number, bytes: Uint8Array): void {
    if (this.disk === "is full") throw unwritable("no space left on device");
    const found = this.#segments.get(segment) ?? { bytes: Buffer.alloc(0), synced: 0 };
    found.bytes = Buffer.concat([found.bytes, bytes]);
    this.#segments.set(segment, found);
    this.appends += 1;
  }

  cut(segment: number, bytes: number): void {
    const found = this.#find(segment);
    found.bytes = found.bytes.subarray(0, bytes);
  }

  remove(segment: number): void {
    this.#find(segment);
    this.#segments.delete(segment);
  }

  async sync(): Promise<void> {
    const lengths = [...this.#segments].map(([number, { bytes }]) => [number, bytes.length] as const);
    await this.beforeSync();
    this.syncs += 1;
    for (const [number, length] of lengths) {
      const found = this.#segments.get(number);
      if (found !== undefined) found.synced = Math.max(found.synced, length);
    }
  }

  close(): void {}

  /** The host dies: what was not synced is gone, but for `spared` bytes of each segment. */
  crash(spared = 0): void {
    for (const [number, found] of this.#segments) {
      found.bytes = found.bytes.subarray(0, found.synced + spared);
      if (found.bytes.length === 0) this.#segments.delete(number);
    }
  }

  text(): string {
    return this.segments()
      .map(({ number }) => this.#find(number).bytes.toString("utf8"))
      .join("");
  }

  #find(segment: number): { bytes: Buffer; synced: number } {
    const found = this.#segments.get(segment);
    if (found === undefined) throw unwritable(`no segment ${segment}`);
    return found;
  }
}

function unwritable(text: string): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", `The spool does not work: ${text}.`, {
    reason: "SPOOL_UNWRITABLE",
  });
}
