import { withDeadline } from "../deadline.ts";
import type { GuestQemu } from "../guest.ts";
import { QmpConnection, type QmpEvent } from "../qmp-connection.ts";
import { unixMicros } from "../realtime-clock.ts";
import type { QmpRecord } from "./records.ts";

const STATUS_TIMEOUT_MS = 2_000;

/** Records one QEMU's events, with its own time stamps, from a QMP socket that nobody else uses. */
export class QmpWitness {
  readonly instance: string;
  readonly #host: string;
  readonly #records: QmpRecord[] = [];
  readonly #listeners = new Set<(record: QmpRecord) => void>();
  #connection: QmpConnection | undefined;

  private constructor(guest: GuestQemu) {
    this.instance = guest.instance;
    this.#host = guest.host;
  }

  /** Connects and notes whether the CPUs run now. It never sends a command that changes anything. */
  static async start(guest: GuestQemu): Promise<QmpWitness> {
    const witness = new QmpWitness(guest);
    const connection = await QmpConnection.open(guest.qmpWitnessPath, (event) =>
      witness.#add(event.atUnixUs, { kind: "event", name: event.name, data: event.data }),
    );
    witness.#connection = connection;
    const atUnixUs = unixMicros();
    const status = await connection.execute<{ running: boolean; status: string }>("query-status");
    witness.#add(atUnixUs, { kind: "first-status", running: status.running, status: status.status });
    void connection.closed.then(() => witness.#add(unixMicros(), { kind: "gone" }));
    return witness;
  }

  records(): readonly QmpRecord[] {
    return this.#records;
  }

  /** Resolves with the first event, past or future, that `matches`; throws DEADLINE_EXCEEDED naming `what`. */
  async waitForEvent(
    matches: (event: QmpEvent) => boolean,
    timeoutMs: number,
    what: string,
  ): Promise<QmpEvent> {
    const eventOf = ({ atUnixUs, fact }: QmpRecord): QmpEvent | undefined => {
      if (fact.kind !== "event") return undefined;
      const event = { name: fact.name, atUnixUs, data: fact.data };
      return matches(event) ? event : undefined;
    };
    for (const record of this.#records) {
      const event = eventOf(record);
      if (event !== undefined) return event;
    }
    let listener: ((record: QmpRecord) => void) | undefined;
    const coming = new Promise<QmpEvent>((resolve) => {
      listener = (record) => {
        const event = eventOf(record);
        if (event !== undefined) resolve(event);
      };
      this.#listeners.add(listener);
    });
    try {
      return await withDeadline(coming, timeoutMs, what);
    } finally {
      if (listener !== undefined) this.#listeners.delete(listener);
    }
  }

  /** Whether the CPUs run by QEMU's own word now; `gone` where it does not answer within 2 s. */
  async cpusNow(): Promise<"running" | "stopped" | "gone"> {
    if (this.#connection === undefined) return "gone";
    const asked = this.#connection.execute<{ running: boolean }>("query-status");
    try {
      const { running } = await withDeadline(asked, STATUS_TIMEOUT_MS, "An answer to query-status");
      return running ? "running" : "stopped";
    } catch {
      return "gone";
    }
  }

  /**
   * How long the guest stood by QEMU's own word at the source of a migration, until all that the destination needs had
   * been sent (`downtime` of `query-migrate`); undefined where it does not say so within 2 s.
   */
  async downtimeMs(): Promise<number | undefined> {
    const asked = this.#connection?.execute<{ downtime?: number }>("query-migrate");
    if (asked === undefined) return undefined;
    try {
      return (await withDeadline(asked, STATUS_TIMEOUT_MS, "An answer to query-migrate")).downtime;
    } catch {
      return undefined;
    }
  }

  /** Leaves the socket; records of the QEMU's end are no longer made after this. */
  close(): void {
    this.#connection?.close();
  }

  #add(atUnixUs: number, fact: QmpRecord["fact"]): void {
    const record = { host: this.#host, instance: this.instance, atUnixUs, fact };
    this.#records.push(record);
    for (const listener of this.#listeners) listener(record);
  }
}
