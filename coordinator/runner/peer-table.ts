import type { GuestId } from "../../proto/ids.ts";

/**
 * Which coordinators are heard, by heartbeats that come back to their sender too: who does not hear itself cannot say
 * that others are silent. A coordinator whose event loop stood still, or whose NATS was away, judges nobody by that time.
 */
export class PeerTable {
  readonly #ownId: string;
  readonly #silentAfterMs: number;
  readonly #heardAtMs = new Map<string, number>();

  constructor(ownId: string, silentAfterMs: number) {
    this.#ownId = ownId;
    this.#silentAfterMs = silentAfterMs;
  }

  hear(coordinatorId: string, nowMs: number): void {
    if (coordinatorId === this.#ownId && this.#isDeaf(nowMs)) {
      for (const peerId of this.#heardAtMs.keys()) this.#heardAtMs.set(peerId, nowMs);
    }
    this.#heardAtMs.set(coordinatorId, nowMs);
  }

  /** It said that it leaves; false where it was not known, or is this coordinator itself. */
  leave(coordinatorId: string): boolean {
    return coordinatorId !== this.#ownId && this.#heardAtMs.delete(coordinatorId);
  }

  /** Forgets and returns those that have been silent for too long. */
  takeSilent(nowMs: number): readonly string[] {
    if (this.#isDeaf(nowMs)) return [];
    const silent = [...this.#heardAtMs].filter(([, heardAtMs]) => nowMs - heardAtMs > this.#silentAfterMs);
    for (const [coordinatorId] of silent) this.#heardAtMs.delete(coordinatorId);
    return silent.map(([coordinatorId]) => coordinatorId);
  }

  /** Whether another one is there to drive the guest's migration: who committed it last, or else the first for it. */
  isAnothers(guestId: GuestId, committedBy: string): boolean {
    if (committedBy === this.#ownId) return false;
    return this.#heardAtMs.has(committedBy) || !this.isFirstFor(guestId);
  }

  /** The same one at all coordinators that hear the same ones; guests are spread over them. */
  isFirstFor(guestId: GuestId): boolean {
    const all = [...new Set([this.#ownId, ...this.#heardAtMs.keys()])].sort();
    return all[hashOf(guestId) % all.length] === this.#ownId;
  }

  #isDeaf(nowMs: number): boolean {
    const heardAtMs = this.#heardAtMs.get(this.#ownId);
    return heardAtMs === undefined || nowMs - heardAtMs > this.#silentAfterMs / 2;
  }
}

/** FNV-1a, 32 bits. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}
