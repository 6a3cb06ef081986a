import type { SpoolStore } from "../../../agent/feed/spool-store.ts";
import { SwitchoverError } from "../../../proto/error.ts";
import type { Random } from "../engine/random.ts";
import type { SimulatedProcess } from "../engine/simulated-process.ts";
import type { SimulatedDisk } from "./disk.ts";

interface Segment {
  readonly chunks: Uint8Array[];
  bytes: number;
  /** So many of them survive the host. */
  synced: number;
}

/** The feed's spool on a simulated disk. */
export class SpoolDisk {
  readonly #segments = new Map<number, Segment>();
  readonly #disk: SimulatedDisk;
  readonly #random: Random;

  constructor(disk: SimulatedDisk, random: Random) {
    this.#disk = disk;
    this.#random = random;
  }

  /** The spool as one agent has it open. */
  storeFor(agent: SimulatedProcess): SpoolStore {
    const segments = this.#segments;
    const writable = () => {
      agent.mustLive();
      if (this.#disk.room === "some") return;
      this.#disk.refusedSpool = true;
      throw full();
    };
    return {
      segments: () => [...segments].map(([number, { bytes }]) => ({ number, bytes })),
      read: (number, from, bytes) => contentsOf(segments.get(number)).subarray(from, from + bytes),
      append: (number, bytes) => {
        writable();
        const segment = segments.get(number) ?? { chunks: [], bytes: 0, synced: 0 };
        segments.set(number, segment);
        segment.chunks.push(bytes);
        segment.bytes += bytes.length;
      },
      cut: (number, bytes) => {
        writable();
        cut(segments.get(number), bytes);
      },
      remove: (number) => void segments.delete(number),
      sync: async () => {
        const upTo = [...segments.values()].map((segment) => ({ segment, bytes: segment.bytes }));
        await this.#disk.flush(agent);
        for (const { segment, bytes } of upTo) segment.synced = Math.max(segment.synced, bytes);
      },
      close: () => {},
    };
  }

  lose(): void {
    this.#segments.clear();
  }

  /** What was not synced is lost, from some byte on. */
  crash(): void {
    for (const segment of this.#segments.values()) {
      cut(segment, this.#random.between(segment.synced, segment.bytes));
    }
  }
}

function contentsOf(segment: Segment | undefined): Uint8Array {
  if (segment === undefined) return new Uint8Array(0);
  const { chunks } = segment;
  const [first] = chunks;
  if (first !== undefined && chunks.length === 1) return first;
  const whole = Buffer.concat(chunks);
  chunks.splice(0, chunks.length, whole);
  return whole;
}

function cut(segment: Segment | undefined, bytes: number): void {
  if (segment === undefined || bytes >= segment.bytes) return;
  const left = contentsOf(segment).subarray(0, bytes);
  segment.chunks.splice(0, segment.chunks.length, left);
  segment.bytes = bytes;
  segment.synced = Math.min(segment.synced, bytes);
}

function full(): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", "The spool cannot be written: ENOSPC.", {
    reason: "SPOOL_UNWRITABLE",
  });
}
