import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "@grpc/grpc-js";
import type { PreparedGuest } from "../fleet/fleet-message.ts";
import { requestMigration, specOf } from "../fleet/requested-migration.ts";

const ASKED_AT_ONCE = 40;

/** The control plane: asks one coordinator after another for a guest's migration, until one answers. */
export class Asking {
  /** By guest: the migration of each answer. */
  readonly answers = new Map<string, string[]>();
  readonly #clients: readonly Client[];
  readonly #guests: ReadonlyMap<string, PreparedGuest>;

  constructor(clients: readonly Client[], guests: readonly PreparedGuest[]) {
    this.#clients = clients;
    this.#guests = new Map(guests.map((guest) => [guest.guestId, guest]));
  }

  /** Asked again, each guest's request goes to another coordinator first, and must be answered with the same migration. */
  async askAll(guestIds: readonly string[]): Promise<void> {
    const left = [...guestIds];
    const askOn = async (): Promise<void> => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) await this.#ask(next);
    };
    await Promise.all(Array.from({ length: ASKED_AT_ONCE }, askOn));
  }

  /** Evenly over the time. */
  async askSpread(guestIds: readonly string[], withinMs: number): Promise<void> {
    const asked: Promise<void>[] = [];
    for (const guestId of guestIds) {
      asked.push(this.#ask(guestId));
      await delay(withinMs / guestIds.length);
    }
    await Promise.all(asked);
  }

  async #ask(guestId: string): Promise<void> {
    const guest = this.#guests.get(guestId);
    if (guest === undefined) return;
    const before = this.answers.get(guestId) ?? [];
    const number = Number(/\d+$/.exec(guestId)?.[0]);
    const first = (number + before.length) % this.#clients.length;
    const clients = [...this.#clients.slice(first), ...this.#clients.slice(0, first)];
    const spec = specOf(guest, number % 4 < 2 ? "live" : "post-copy");
    const { migrationId } = await requestMigration(clients, `request-${guestId}`, spec);
    this.answers.set(guestId, [...before, migrationId]);
  }
}
