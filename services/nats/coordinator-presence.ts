import type { NatsConnection } from "nats";
import type { PeerPort } from "../../coordinator/runner/peer-port.ts";
import { PeerTable } from "../../coordinator/runner/peer-table.ts";
import type { GuestId } from "../../proto/ids.ts";
import { COORDINATOR_ALL, coordinatorSubject } from "../../proto/subjects.ts";
import type { Log } from "../log/log.ts";
import type { NatsLink } from "./connection.ts";

const BEAT_MS = 200;
/** A coordinator that was lost is noticed after this and one beat; what is left of 2 s is for going on. */
const SILENT_AFTER_MS = 800;
const HERE = "here";
const LEAVING = "leaving";

/**
 * This coordinator's heartbeat on plain NATS, and the others'. It is silent until it has arrived: others leave migrations
 * to who is heard.
 */
export class CoordinatorPresence implements PeerPort {
  readonly #link: NatsLink;
  readonly #log: Log;
  readonly #subject: string;
  readonly #peers: PeerTable;
  readonly #listeners = new Set<(coordinatorId: string) => void>();
  readonly #forgetLink: () => void;
  #beating: NodeJS.Timeout | undefined;
  #connection: NatsConnection | undefined;

  constructor(link: NatsLink, coordinatorId: string, log: Log) {
    this.#link = link;
    this.#log = log;
    this.#subject = coordinatorSubject(coordinatorId);
    this.#peers = new PeerTable(coordinatorId, SILENT_AFTER_MS);
    this.#forgetLink = link.onReachable((connection) => this.#listen(connection));
  }

  /** From now on this coordinator is heard, and judges others: it drives what it is to drive. */
  arrive(): void {
    this.#beating ??= setInterval(() => this.#beat(), BEAT_MS);
    this.#publish(HERE);
  }

  onGone(listener: (coordinatorId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  isAnothers(guestId: GuestId, committedBy: string): boolean {
    return this.#peers.isAnothers(guestId, committedBy);
  }

  /** Says that this coordinator has let go of its migrations. */
  leave(): void {
    clearInterval(this.#beating);
    this.#forgetLink();
    this.#publish(LEAVING);
  }

  #beat(): void {
    for (const coordinatorId of this.#peers.takeSilent(performance.now())) {
      this.#log.warn({ coordinator_id: coordinatorId }, "Another coordinator fell silent.");
      this.#tellGone(coordinatorId);
    }
    this.#publish(HERE);
  }

  /** The client renews the subscription of a connection that comes back. */
  #listen(connection: NatsConnection): void {
    if (this.#connection === connection) return;
    this.#connection = connection;
    const prefixLength = COORDINATOR_ALL.length - 1;
    connection.subscribe(COORDINATOR_ALL, {
      callback: (error, message) => {
        if (error === null) this.#hear(message.subject.slice(prefixLength), message.string());
      },
    });
  }

  #hear(coordinatorId: string, word: string): void {
    if (word !== LEAVING) this.#peers.hear(coordinatorId, performance.now());
    else if (this.#peers.leave(coordinatorId)) {
      this.#log.info({ coordinator_id: coordinatorId }, "Another coordinator has left.");
      this.#tellGone(coordinatorId);
    }
  }

  #tellGone(coordinatorId: string): void {
    for (const listener of [...this.#listeners]) listener(coordinatorId);
  }

  /** What is said while NATS is away would come late, and be of no use. */
  #publish(word: string): void {
    try {
      if (this.#link.state === "reachable") this.#link.connection?.publish(this.#subject, word);
    } catch (thrown) {
      this.#log.debug({ err: thrown }, "A heartbeat did not leave.");
    }
  }
}
