import { SwitchoverError } from "../../proto/error.ts";
import type { InstanceId } from "../../proto/ids.ts";
import type { HostAgentPorts } from "../host-agent-ports.ts";
import type { Journal } from "../journal/journal.ts";
import type { JournalWord } from "../journal/journal-entry.ts";
import type { LogFields } from "../log.ts";

/** A switchover is over by then. A killed agent loses nothing meanwhile; a host that dies loses its QEMU too. */
const SYNC_AFTER_MS = 50;

/** One instance's lines in its guest's journal: written at once, and on disk a moment later. */
export class InstanceNotes {
  readonly #journal: Journal;
  readonly #instanceId: InstanceId;
  readonly #ports: Pick<HostAgentPorts, "clock" | "log">;
  readonly #fields: LogFields;
  #sync: "due" | "done" = "done";

  constructor(
    journal: Journal,
    instanceId: InstanceId,
    ports: Pick<HostAgentPorts, "clock" | "log">,
    fields: LogFields,
  ) {
    this.#journal = journal;
    this.#instanceId = instanceId;
    this.#ports = ports;
    this.#fields = fields;
  }

  /** No disk flush belongs between STOP and RESUME. Throws UNAVAILABLE / JOURNAL_UNWRITABLE, nothing written. */
  write(word: JournalWord): void {
    const { clock } = this.#ports;
    this.#journal.write({ atUnixUs: clock.unixUs(), instanceId: this.#instanceId, word });
    if (this.#sync === "due") return;
    this.#sync = "due";
    clock.after(SYNC_AFTER_MS, () => {
      this.#sync = "done";
      void this.#syncJournal();
    });
  }

  async #syncJournal(): Promise<void> {
    try {
      await this.#journal.sync();
    } catch (thrown) {
      const { reason, message } = SwitchoverError.from(thrown);
      this.#ports.log.error({ ...this.#fields, reason }, `The journal could not be synced: ${message}`);
    }
  }
}
