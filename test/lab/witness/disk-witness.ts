import { readFile } from "node:fs/promises";
import { DISK_SLOT_BYTES } from "../guest-init.ts";
import type { DiskRecord } from "./records.ts";

const BEAT = /^(\d+) (\S+) (\d+(?:\.\d+)?)\s*$/;

/** Reads every beat that the shared disk remembers, by sequence. QEMU writes with O_DIRECT: nothing is stale. */
export async function readDiskWitness(diskPath: string): Promise<DiskRecord[]> {
  return parseDisk(await readFile(diskPath));
}

/** Decodes the disk's slots; an empty or torn slot is no record. */
export function parseDisk(bytes: Uint8Array): DiskRecord[] {
  const records: DiskRecord[] = [];
  const decoder = new TextDecoder("latin1");
  for (let offset = 0; offset + DISK_SLOT_BYTES <= bytes.length; offset += DISK_SLOT_BYTES) {
    if (bytes[offset] === 0) continue;
    const match = BEAT.exec(decoder.decode(bytes.subarray(offset, offset + DISK_SLOT_BYTES)));
    if (match?.[1] === undefined || match[2] === undefined) continue;
    records.push({ seq: Number(match[1]), host: match[2], guestUptimeSeconds: Number(match[3]) });
  }
  return records.sort((a, b) => a.seq - b.seq);
}

/** Beats that two hosts wrote with the same number: two copies of the guest ran at once. */
export function findTwoWriters(records: readonly DiskRecord[]): { seq: number; hosts: string[] }[] {
  const writers = new Map<number, string[]>();
  for (const { seq, host } of records) writers.set(seq, [...(writers.get(seq) ?? []), host]);
  return [...writers].filter(([, hosts]) => hosts.length > 1).map(([seq, hosts]) => ({ seq, hosts }));
}

/** Unbroken stretches of beats by one host, in order: where the guest lived. */
export function writerStretches(
  records: readonly DiskRecord[],
): { host: string; firstSeq: number; lastSeq: number }[] {
  const stretches: { host: string; firstSeq: number; lastSeq: number }[] = [];
  for (const { seq, host } of records) {
    const current = stretches.at(-1);
    if (current?.host === host) current.lastSeq = seq;
    else stretches.push({ host, firstSeq: seq, lastSeq: seq });
  }
  return stretches;
}
