import type { HostEntry } from "../page/wire.ts";

/** A host as it was last heard of. */
export interface HeardHost {
  readonly id: string;
  readonly target: string;
  readonly version: string;
  readonly heardAtMs: number;
  /** What readers were told of it last. */
  readonly shown?: HostEntry;
}

/** One heartbeat, due every 5 s, is missing. */
const LATE_MS = 7_500;
/** Three are, after which coordinators forget the host. */
const SILENT_MS = 15_000;

export function hostEntry({ id, target, version, heardAtMs }: HeardHost, nowMs: number): HostEntry {
  const ageMs = nowMs - heardAtMs;
  const standing = ageMs > SILENT_MS ? "silent" : ageMs > LATE_MS ? "late" : "alive";
  return { id, target, version, standing, heardAtMs };
}
