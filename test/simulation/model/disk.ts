import type { Journal, JournalStore } from "../../../agent/journal/journal.ts";
import type { JournalEntry } from "../../../agent/journal/journal-entry.ts";
import { SwitchoverError } from "../../../proto/error.ts";
import type { GuestId } from "../../../proto/ids.ts";
import type { Grinder } from "../engine/grain.ts";
import type { Random } from "../engine/random.ts";
import type { SimulatedProcess } from "../engine/simulated-process.ts";
import { SpoolDisk } from "./spool-disk.ts";

interface File {
  readonly entries: JournalEntry[];
  /** So many of them survive the host. */
  synced: number;
}

/** A host's disk: what was written survives the process, what was synced survives the host. */
export class SimulatedDisk {
  readonly #files = new Map<GuestId, File>();
  readonly #random: Random;
  readonly #grinder: Grinder;
  room: "some" | "none" = "some";
  /** Of the last time that it had none. */
  fullUntilUs = 0;
  /** Whether the feed's spool was ever refused: what is then told from memory dies with the agent. */
  refusedSpool = false;
  /** How often all that it held was lost. */
  losses = 0;
  readonly spool: SpoolDisk;

  constructor(random: Random, grinder: Grinder) {
    this.#random = random;
    this.#grinder = grinder;
    this.spool = new SpoolDisk(this, random);
  }

  /** The journals as one agent has them open. */
  storeFor(agent: SimulatedProcess): JournalStore {
    return {
      guestIds: () => [...this.#files.keys()],
      exists: (guestId) => this.#files.has(guestId),
      open: (guestId) => this.#open(guestId, agent),
    };
  }

  /** Resolves once what the agent has written by now is on the medium; a disk with a cache of its own may have that at once. */
  async flush(agent: SimulatedProcess): Promise<void> {
    await new Promise<void>((resolve) => {
      if (this.#grinder.joins()) agent.run(resolve);
      else agent.after(this.#random.between(50, 3_000) / 1_000, resolve);
    });
  }

  /** Everything that was written for the guest. */
  read(guestId: string): readonly JournalEntry[] {
    return this.#files.get(guestId as GuestId)?.entries ?? [];
  }

  crash(): void {
    for (const file of this.#files.values()) file.entries.length = file.synced;
    this.spool.crash();
  }

  /** Another disk in its place, or another directory. */
  lose(): void {
    this.losses += 1;
    this.#files.clear();
    this.spool.lose();
  }

  #open(guestId: GuestId, agent: SimulatedProcess): Journal {
    agent.mustLive();
    let file = this.#files.get(guestId);
    if (file === undefined) {
      file = { entries: [], synced: 0 };
      this.#files.set(guestId, file);
    }
    return new DiskJournal(file, agent, this);
  }
}

class DiskJournal implements Journal {
  readonly entries: JournalEntry[];
  readonly bytes = 0;
  readonly #file: File;
  readonly #agent: SimulatedProcess;
  readonly #disk: SimulatedDisk;

  constructor(file: File, agent: SimulatedProcess, disk: SimulatedDisk) {
    this.#file = file;
    this.entries = file.entries;
    this.#agent = agent;
    this.#disk = disk;
  }

  write(entry: JournalEntry): void {
    this.#agent.mustLive();
    if (this.#disk.room === "none") throw full();
    this.#file.entries.push(entry);
  }

  async sync(): Promise<void> {
    const upTo = this.#file.entries.length;
    await this.#disk.flush(this.#agent);
    this.#file.synced = Math.max(this.#file.synced, Math.min(upTo, this.#file.entries.length));
  }

  close(): void {}
}

function full(): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", "The journal cannot be written: ENOSPC.", {
    reason: "JOURNAL_UNWRITABLE",
  });
}
