/**
 * The agent's own announcements of a guest whose CPUs have started, beside those that its VMM makes.
 *
 * Nothing of this runs before the first round is asked for, and then in turns of the event loop of its own, a slice of
 * frames each. What goes wrong is logged, and costs frames but nothing else.
 */
import { setImmediate } from "node:timers";
import { SwitchoverError } from "../../proto/error.ts";
import type { MacAddress } from "../../proto/mac-address.ts";
import type { NicDefinition } from "../device/nic-definition.ts";
import { linkOf } from "../device/route-answers.ts";
import type { Log, LogFields } from "../log.ts";
import { encodeBatch } from "../netlink/route-batch.ts";
import type { RoutePort } from "../netlink/route-port.ts";
import {
  type AnnouncedNic,
  type Announcement,
  type AnnouncementKind,
  announcementsOf,
} from "./announcement.ts";
import type { BridgePorts } from "./bridge-ports.ts";
import { findPaths } from "./find-paths.ts";
import type { PacketLink, PacketPort } from "./packet-port.ts";

/** Some 0.2 ms. */
const FRAMES_A_TURN = 64;

const NO_CARRIER = new SwitchoverError("UNAVAILABLE", "it has no carrier.", { reason: "NO_CARRIER" });

/** How many frames left. */
export type SentFrames = Readonly<Record<AnnouncementKind, number>>;

export interface Announcer {
  /** The announcements of one start of a guest's CPUs; sends and opens nothing yet. `fields` are for the log. */
  begin(nics: readonly NicDefinition[], fields: LogFields): AnnouncementRun;
}

export interface AnnouncementRun {
  /**
   * Announces every NIC that is not heard yet, from the next turn of the event loop on, and then calls `done`. A round
   * that comes while the one before is still leaving sends nothing, and is done after it.
   */
  announce(done: (sent: SentFrames) => void): void;
  /** `all` once frames of the guest's own were seen leaving this host from each of its NICs. */
  heard(): "all" | "some";
  /** The first frame of the guest's own that was seen of each NIC so far. */
  firstFrames(): readonly FirstFrameSeen[];
  /** Nothing leaves any more; a round that is cut short is done with what has left. Idempotent. */
  end(): void;
}

/** Microseconds, Unix. */
export interface FirstFrameSeen {
  readonly nicId: string;
  readonly atUnixUs: number;
}

export interface AnnouncerParts {
  readonly route: RoutePort;
  readonly bridgePorts: BridgePorts;
  readonly packets: PacketPort;
  readonly log: Log;
}

export function createAnnouncer(parts: AnnouncerParts): Announcer {
  return { begin: (nics, fields) => new PacketRun(parts, nics, fields) };
}

interface Round {
  readonly announcements: Iterator<Announcement>;
  readonly sent: Record<AnnouncementKind, number>;
  readonly done: (sent: SentFrames) => void;
}

class PacketRun implements AnnouncementRun {
  readonly #parts: AnnouncerParts;
  readonly #nics: readonly NicDefinition[];
  readonly #fields: LogFields;
  /** Null until the first round. */
  #announced: readonly AnnouncedNic[] | null = null;
  readonly #links = new Map<number, PacketLink>();
  /** Links that throw away what is sent, and say that it was sent. */
  #withoutCarrier: ReadonlySet<number> = new Set();
  readonly #warned = new Set<string>();
  #round: Round | null = null;
  /** Rounds that came while that one was leaving. */
  #late: (() => void)[] = [];
  #turn: NodeJS.Immediate | undefined;

  constructor(parts: AnnouncerParts, nics: readonly NicDefinition[], fields: LogFields) {
    this.#parts = parts;
    this.#nics = nics;
    this.#fields = fields;
  }

  announce(done: (sent: SentFrames) => void): void {
    const sent = { reverseArp: 0, arp: 0, neighbourAdvertisements: 0 };
    if (this.#round !== null) {
      this.#late.push(() => done(sent));
      return;
    }
    const round = { announcements: this.#due(), sent, done };
    this.#round = round;
    this.#turn = setImmediate(() => {
      if (this.#announced === null) void this.#sendFirst(round);
      else this.#beginToSend();
    });
  }

  heard(): "all" | "some" {
    const announced = this.#announced ?? [];
    return announced.length > 0 && announced.every((nic) => this.#isHeard(nic)) ? "all" : "some";
  }

  firstFrames(): readonly FirstFrameSeen[] {
    return (this.#announced ?? []).flatMap((announced) => {
      const atUnixUs = this.#heardAtUnixUs(announced);
      return atUnixUs === null ? [] : [{ nicId: announced.nic.nicId, atUnixUs }];
    });
  }

  end(): void {
    clearImmediate(this.#turn);
    this.#endRound();
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  #due(): Iterator<Announcement> {
    return announcementsOf((this.#announced ?? []).filter((announced) => !this.#isHeard(announced)));
  }

  /** Finds the uplinks and opens them, before the first frame. */
  async #sendFirst(round: Round): Promise<void> {
    const announced = await this.#findPaths();
    if (this.#round !== round) return;
    this.#announced = announced;
    this.#openLinks(announced);
    this.#round = { ...round, announcements: this.#due() };
    this.#beginToSend();
  }

  /** A parent that was raised with its guest, or an uplink whose wire comes back, has its carrier a while later. */
  #beginToSend(): void {
    const ifindexes = [...this.#links.keys()];
    try {
      const results = this.#parts.route.execute(
        encodeBatch(ifindexes.map((ifindex) => ({ op: "getLink", ifindex }))),
      );
      this.#withoutCarrier = new Set(
        ifindexes.filter((_, index) => linkOf(results[index])?.carrier === "off"),
      );
    } catch (thrown) {
      this.#warn("Whether links have a carrier could not be read", thrown);
    }
    if (this.#withoutCarrier.size > 0) this.#warn("The guest is not announced on a link", NO_CARRIER);
    this.#sendSlice();
  }

  async #findPaths(): Promise<readonly AnnouncedNic[]> {
    const { bridgePorts, route } = this.#parts;
    try {
      return await findPaths(route, bridgePorts, this.#nics);
    } catch (thrown) {
      this.#warn("Where to announce the guest could not be found out", thrown);
      return this.#nics.map((nic) => ({ nic, paths: [] }));
    }
  }

  #openLinks(announced: readonly AnnouncedNic[]): void {
    const sources = new Map<number, Set<MacAddress>>();
    for (const { nic, paths } of announced) {
      for (const { ifindex } of paths) {
        sources.set(ifindex, (sources.get(ifindex) ?? new Set()).add(nic.macAddress));
      }
    }
    for (const [ifindex, addresses] of sources) {
      try {
        this.#links.set(ifindex, this.#parts.packets.open(ifindex, [...addresses]));
      } catch (thrown) {
        this.#warn("The guest is not announced on a link", thrown);
      }
    }
  }

  #sendSlice(): void {
    if (this.#round === null) return;
    const { announcements, sent } = this.#round;
    for (let count = 0; count < FRAMES_A_TURN; count++) {
      const next = announcements.next();
      if (next.done === true) {
        this.#endRound();
        return;
      }
      const { frame, ifindex, kind } = next.value;
      const link = this.#links.get(ifindex);
      if (link === undefined || this.#withoutCarrier.has(ifindex)) continue;
      try {
        link.send(frame);
        sent[kind] += 1;
      } catch (thrown) {
        this.#warn("A link did not take an announcement", thrown);
      }
    }
    this.#turn = setImmediate(() => this.#sendSlice());
  }

  #endRound(): void {
    const round = this.#round;
    this.#round = null;
    round?.done(round.sent);
    for (const done of this.#late.splice(0)) done();
  }

  #isHeard(announced: AnnouncedNic): boolean {
    return this.#heardAtUnixUs(announced) !== null;
  }

  /** When the first of its frames left, by whichever of its uplinks. */
  #heardAtUnixUs({ nic, paths }: AnnouncedNic): number | null {
    const times = paths
      .map(({ ifindex }) => this.#links.get(ifindex)?.heard().get(nic.macAddress))
      .filter((atUnixUs) => atUnixUs !== undefined);
    return times.length === 0 ? null : Math.min(...times);
  }

  /** Once for each reason: the next frame meets the same. */
  #warn(sentence: string, thrown: unknown): void {
    const { message, reason } = SwitchoverError.from(thrown);
    if (this.#warned.has(reason)) return;
    this.#warned.add(reason);
    this.#parts.log.warn({ ...this.#fields, reason }, `${sentence}: ${message}`);
  }
}
