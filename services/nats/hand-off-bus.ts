import type { NatsConnection, Subscription } from "nats";
import type { HandOffBus } from "../../agent/host-agent-ports.ts";
import { HandOff } from "../../proto/gen/switchover/v1/guest.ts";
import type { GuestId } from "../../proto/ids.ts";
import { readJson } from "../../proto/read-json.ts";
import { handOffSubject } from "../../proto/subjects.ts";
import type { Log } from "../log/log.ts";
import type { NatsLink } from "./connection.ts";

/** A waiting destination's ear: it hears from the next moment that NATS is reachable. */
interface Ear {
  readonly guestId: GuestId;
  readonly listener: (handOff: HandOff) => void;
  subscription: Subscription | undefined;
}

/**
 * The source's word over plain NATS, as proto3 JSON. `publish` hands it to the socket before the current turn of the
 * event loop ends; before NATS was ever reached it is dropped, and the coordinator brings the word.
 */
export class NatsHandOffBus implements HandOffBus {
  readonly #link: NatsLink;
  readonly #log: Log;
  readonly #ears = new Set<Ear>();
  readonly #forgetLink: () => void;
  #connection: NatsConnection | undefined;

  constructor(link: NatsLink, log: Log) {
    this.#link = link;
    this.#log = log;
    this.#forgetLink = link.onReachable((connection) => this.#use(connection));
  }

  publish(handOff: HandOff): void {
    const subject = handOffSubject(handOff.guestId as GuestId);
    try {
      this.#link.connection?.publish(subject, JSON.stringify(HandOff.toJSON(handOff)));
    } catch (thrown) {
      this.#log.warn({ guest_id: handOff.guestId, err: thrown }, "The hand-off did not leave by NATS.");
    }
  }

  subscribe(guestId: GuestId, listener: (handOff: HandOff) => void): () => void {
    const ear: Ear = { guestId, listener, subscription: undefined };
    this.#ears.add(ear);
    if (this.#connection !== undefined) this.#listen(ear, this.#connection);
    return () => {
      this.#ears.delete(ear);
      if (ear.subscription?.isClosed() === false) ear.subscription.unsubscribe();
    };
  }

  /** Ends all subscriptions; the link stays open. */
  close(): void {
    this.#forgetLink();
    for (const ear of this.#ears) if (ear.subscription?.isClosed() === false) ear.subscription.unsubscribe();
    this.#ears.clear();
  }

  /** The client itself renews subscriptions of a connection that comes back; a new connection has none. */
  #use(connection: NatsConnection): void {
    if (this.#connection === connection) return;
    this.#connection = connection;
    for (const ear of this.#ears) this.#listen(ear, connection);
  }

  #listen(ear: Ear, connection: NatsConnection): void {
    if (connection.isClosed()) return;
    ear.subscription = connection.subscribe(handOffSubject(ear.guestId), {
      callback: (error, message) => {
        if (error !== null) {
          this.#log.warn(
            { guest_id: ear.guestId, err: error },
            "NATS refused the subscription to hand-offs.",
          );
          return;
        }
        this.#hear(ear, message.string());
      },
    });
  }

  #hear(ear: Ear, body: string): void {
    let handOff: HandOff;
    try {
      handOff = readJson(JSON.parse(body), HandOff.fromJSON).value;
    } catch (thrown) {
      this.#log.warn({ guest_id: ear.guestId, err: thrown }, "A hand-off on NATS is malformed and ignored.");
      return;
    }
    ear.listener(handOff);
  }
}
