/**
 * What the observer tells its page, as JSON. Times are Unix milliseconds, durations microseconds; null: not known.
 *
 * Everything shown has a key, and every change of it a revision. A stream that goes on after a revision brings each key
 * that has changed since, once, as it stands: nothing that is overwritten meanwhile has to be kept for anybody.
 */
export type Standing = "waiting" | "open" | "attention" | "completed" | "cancelled" | "failed";

/** A migration in the list. */
export interface MigrationRow {
  readonly id: string;
  readonly guest: string;
  readonly from: string;
  readonly to: string;
  readonly mode: "live" | "post-copy";
  /** In words: "switching over". */
  readonly phase: string;
  readonly standing: Standing;
  /** In words: "runs on destination"; empty while it is open. */
  readonly outcome: string;
  readonly reason: string;
  readonly reasonCode: string;
  readonly requestedAtMs: number;
  readonly enteredAtMs: number;
  /** "key=value", sorted. */
  readonly labels: readonly string[];
  readonly windows: Windows;
  /** How much of the memory is copied, 0 to 100. */
  readonly copiedPercent: number | null;
}

/** The times of a switchover that somebody pays for. */
export interface Windows {
  /** The CPUs stood still. */
  readonly blackoutUs: number | null;
  /** The MAC was registered on neither host. */
  readonly blackHoleUs: number | null;
  /** The MAC was registered on both hosts. */
  readonly duplicateUs: number | null;
  /** What Switchover added to the VMM's own stop. */
  readonly overheadUs: number | null;
}

export type Lane = "source" | "destination";

export interface DetailInstant {
  /** The kind's name: "STOPPED". */
  readonly kind: string;
  readonly words: string;
  readonly lane: Lane;
  readonly host: string;
  /** From STOP on, the destination's clock corrected as in the receipt. */
  readonly atUs: number;
}

export interface DetailSpan {
  readonly kind: string;
  readonly words: string;
  readonly durationUs: number;
  readonly acrossClocks: boolean;
}

export interface DetailPhase {
  readonly phase: string;
  readonly atMs: number;
  /** Null for the last. */
  readonly durationUs: number | null;
  readonly reason: string;
}

export interface DetailNic {
  readonly id: string;
  readonly mac: string;
}

/** All of one migration. */
export interface MigrationDetail {
  readonly row: MigrationRow;
  readonly requestId: string;
  readonly epoch: string;
  readonly sourceInstance: string;
  readonly destinationInstance: string;
  readonly phases: readonly DetailPhase[];
  readonly instants: readonly DetailInstant[];
  readonly spans: readonly DetailSpan[];
  readonly clockBehindUs: number;
  /** As the source's word names them, else as preflight found them; may be empty. */
  readonly nics: readonly DetailNic[];
}

export interface HostEntry {
  readonly id: string;
  readonly target: string;
  readonly version: string;
  readonly standing: "alive" | "late" | "silent";
  /** When NATS stored its last heartbeat, as of the last change of the rest; `Beats` has newer ones. */
  readonly heardAtMs: number;
}

/** Where a guest is, by the last word about it. */
export interface GuestEntry {
  readonly id: string;
  readonly host: string;
  readonly cpus: "running" | "stopped";
  readonly sinceMs: number;
  /** A registration of it is not as it should be: the reason's code; empty: all is well. */
  readonly drift: string;
}

/** What a person should know beside phases. */
export interface Notice {
  readonly id: string;
  readonly atMs: number;
  readonly kind: "alarm" | "drift" | "mended" | "note";
  readonly host: string;
  readonly guest: string;
  /** Empty outside a migration. */
  readonly migration: string;
  readonly reason: string;
  readonly sentence: string;
}

/** Key kinds: migration, host, guest, notice. */
export interface Entries {
  readonly m: MigrationRow;
  readonly h: HostEntry;
  readonly g: GuestEntry;
  readonly n: Notice;
}
export type EntryKind = keyof Entries;

/** null: it is not kept any more. */
export type Change = { [K in EntryKind]: readonly [K, string, Entries[K] | null] }[EntryKind];

/** Data of the stream's event `changes`. */
export interface Changes {
  /** "start": what the page has so far is to be forgotten, once all of this has come. */
  readonly from: "start" | "after";
  /** Whether more of the same follows at once. */
  readonly more: boolean;
  readonly changes: readonly Change[];
}

/** Data of the stream's event `beat`, every few seconds. */
export interface Beat {
  readonly nowMs: number;
  readonly nats: "reachable" | "away";
  /** Whether all that NATS keeps has been read. */
  readonly replay: "done" | "under way";
  /** Host and when NATS stored its last heartbeat; the oldest ones, where there are very many. */
  readonly heard: readonly (readonly [string, number])[];
}
