import { element, required } from "./element.ts";
import { roughly } from "./figures.ts";
import type { PageModel } from "./model.ts";
import { badge, signOf } from "./standing.ts";
import type { GuestEntry, HostEntry } from "./wire.ts";

const HOSTS_AT_MOST = 200;
const GUESTS_AT_MOST = 60;
const ORDER: readonly HostEntry["standing"][] = ["silent", "late", "alive"];

interface HostWithGuests {
  readonly host: HostEntry;
  readonly guests: readonly GuestEntry[];
  readonly drifting: number;
}

/** When a host was heard of, by beats, and what a moment is by the observer's clock. */
export interface Heard {
  readonly nowMs: () => number;
  readonly atMs: (hostId: string) => number | undefined;
}

/** Hosts with the ages of their heartbeats, their guests and which of these drift; those in trouble first. */
export class HostsView {
  readonly #model: PageModel;
  readonly #heard: Heard;
  readonly #list = required("host-list");
  readonly #count = required("host-count");
  readonly #field = required("filter-hosts") as HTMLInputElement;
  readonly #cards = new Map<string, HostCard>();

  constructor(model: PageModel, heard: Heard) {
    this.#model = model;
    this.#heard = heard;
    this.#field.addEventListener("input", () => this.render());
  }

  render(): void {
    const words = this.#field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = withGuests(this.#model);
    const matching = all.filter((one) => words.every((word) => textOf(one).includes(word)));
    const shown = matching.sort(inTroubleFirst).slice(0, HOSTS_AT_MOST);
    const some = shown.length === all.length ? "" : `${shown.length} of `;
    this.#count.textContent = `${some}${all.length} ${all.length === 1 ? "host" : "hosts"}`;
    const ids = new Set(shown.map(({ host }) => host.id));
    for (const [id, card] of this.#cards) {
      if (ids.has(id)) continue;
      card.root.remove();
      this.#cards.delete(id);
    }
    shown.forEach((one, index) => {
      const card = this.#cards.get(one.host.id) ?? new HostCard();
      this.#cards.set(one.host.id, card);
      const { host } = one;
      const atMs = Math.max(host.heardAtMs, this.#heard.atMs(host.id) ?? 0);
      card.show(one, Math.max(0, this.#heard.nowMs() - atMs));
      // What stands where it should is left alone, so that nothing loses the focus.
      if (this.#list.children[index] !== card.root) {
        this.#list.insertBefore(card.root, this.#list.children[index] ?? null);
      }
    });
    required("no-hosts").hidden = shown.length > 0;
  }
}

function withGuests({ guests, hosts }: PageModel): HostWithGuests[] {
  const byHost = new Map<string, GuestEntry[]>();
  for (const guest of guests.values()) {
    const there = byHost.get(guest.host);
    if (there === undefined) byHost.set(guest.host, [guest]);
    else there.push(guest);
  }
  // A host that died before the observer was there is known by its guests alone.
  const unheard = [...byHost.keys()].filter((id) => !hosts.has(id)).map(unheardHost);
  return [...hosts.values(), ...unheard].map((host) => {
    const there = byHost.get(host.id) ?? [];
    return { host, guests: there, drifting: there.filter(({ drift }) => drift !== "").length };
  });
}

function unheardHost(id: string): HostEntry {
  return { id, target: "", version: "", standing: "silent", heardAtMs: 0 };
}

function textOf({ guests, host }: HostWithGuests): string {
  const drift = guests.map((guest) => `${guest.id} ${guest.drift}`);
  return [host.id, host.standing, host.target, host.version, ...drift].join(" ").toLowerCase();
}

function inTroubleFirst(left: HostWithGuests, right: HostWithGuests): number {
  const byStanding = ORDER.indexOf(left.host.standing) - ORDER.indexOf(right.host.standing);
  if (byStanding !== 0) return byStanding;
  return right.drifting - left.drifting || (left.host.id < right.host.id ? -1 : 1);
}

class HostCard {
  readonly root = element("li", { class: "host" });
  readonly #head = element("h3");
  readonly #age = element("span", { class: "age" });
  readonly #facts = element("p", { class: "quiet" });
  readonly #guests = element("ul", { class: "guests" });
  #shown = "";

  constructor() {
    this.root.append(this.#head, this.#facts, this.#guests);
  }

  show({ drifting, guests, host }: HostWithGuests, ageMs: number): void {
    this.#age.textContent = roughly(ageMs);
    const shown = JSON.stringify([host.standing, host.target, host.version, guests]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.root.className = `host is-${host.standing}`;
    this.#head.replaceChildren(host.id, " ", badge(host.standing, host.standing));
    const count = guestsText(guests, drifting);
    if (host.heardAtMs === 0) this.#facts.replaceChildren(`no heartbeat · ${count}`);
    else {
      const facts = `${count} · agent at ${host.target} · ${host.version}`;
      this.#facts.replaceChildren("heartbeat ", this.#age, ` ago · ${facts}`);
    }
    const order = [...guests].sort(
      (left, right) =>
        Number(right.drift !== "") - Number(left.drift !== "") || (left.id < right.id ? -1 : 1),
    );
    const items = order.slice(0, GUESTS_AT_MOST).map(guestItem);
    if (guests.length > GUESTS_AT_MOST) {
      items.push(element("li", { class: "quiet" }, `and ${guests.length - GUESTS_AT_MOST} more`));
    }
    this.#guests.replaceChildren(...items);
  }
}

function guestsText(guests: readonly GuestEntry[], drifting: number): string {
  const stopped = guests.filter(({ cpus }) => cpus === "stopped").length;
  const parts = [
    `${guests.length} ${guests.length === 1 ? "guest" : "guests"}`,
    stopped === 0 ? "" : `${stopped} stopped`,
    drifting === 0 ? "" : `${drifting} with drift`,
  ];
  return parts.filter(Boolean).join(", ");
}

function guestItem({ cpus, drift, id }: GuestEntry): HTMLElement {
  const link = element("a", { href: `#/migrations?text=${encodeURIComponent(id)}` }, id);
  const item = element("li", { class: drift === "" ? cpus : "drifting" }, link);
  if (cpus === "stopped") item.append(" stopped");
  if (drift !== "") item.append(` ${signOf("drift")} drift: ${drift}`);
  return item;
}
