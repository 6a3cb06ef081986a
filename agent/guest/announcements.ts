import { type Announced, AnnouncementsEndedBy, type FirstFrame } from "../../proto/gen/switchover/v1/feed.ts";
import type { AnnouncementRun } from "../announce/announcer.ts";
import type { Clock } from "../clock.ts";

/** When the guest's addresses are announced after RESUME; QEMU's own frames leave with RESUME itself. Milliseconds. */
const ANNOUNCE_AFTER_MS = [0, 50, 150, 350, 750] as const;
const LAST_ROUND = ANNOUNCE_AFTER_MS.length;

export interface AnnouncementsParts {
  readonly clock: Clock;
  /** Has the VMM announce the guest, without waiting. */
  readonly askVmm: () => void;
  /** What the agent announces by itself; null where it does not. */
  readonly beginOwn: () => AnnouncementRun | null;
  readonly tell: (announced: Announced) => void;
}

/**
 * The announcements of one start of the CPUs: a later start begins anew, a stop ends them, and so does evidence that the
 * guest is heard outside without them.
 */
export class Announcements {
  readonly #parts: AnnouncementsParts;
  #cancels: (() => void)[] = [];
  #own: AnnouncementRun | null = null;
  /** NICs whose first frame was told of. */
  readonly #heardNics = new Set<string>();

  constructor(parts: AnnouncementsParts) {
    this.#parts = parts;
  }

  /** The VMM is asked for the first round within this call; the agent's own frames follow it. */
  begin(): void {
    const { beginOwn, clock } = this.#parts;
    this.end();
    this.#own = beginOwn();
    this.#heardNics.clear();
    for (const [index, delayMs] of ANNOUNCE_AFTER_MS.entries()) {
      if (delayMs > 0) this.#cancels.push(clock.after(delayMs, () => this.#announce(index + 1)));
    }
    this.#announce(1);
  }

  /** Nothing is announced after this call. A round that is cut short is told of. */
  end(): void {
    for (const cancel of this.#cancels.splice(0)) cancel();
    const own = this.#own;
    this.#own = null;
    own?.end();
  }

  #announce(round: number): void {
    const { askVmm, clock, tell } = this.#parts;
    const announcedAtUnixUs = BigInt(clock.unixUs());
    const own = this.#own;
    if (own?.heard() === "all") {
      const firstFrames = this.#newFirstFrames(own);
      this.end();
      tell({ round, announcedAtUnixUs, endedBy: AnnouncementsEndedBy.EVIDENCE, firstFrames });
      return;
    }
    askVmm();
    const said: Announced = {
      round,
      announcedAtUnixUs,
      firstFrames: own === null ? [] : this.#newFirstFrames(own),
      ...(round === LAST_ROUND ? { endedBy: AnnouncementsEndedBy.SCHEDULE } : {}),
    };
    if (own === null) tell(said);
    else {
      own.announce((frames) => {
        tell({ ...said, frames });
        if (round === LAST_ROUND && this.#own === own) this.end();
      });
    }
  }

  #newFirstFrames(own: AnnouncementRun): readonly FirstFrame[] {
    const news = own.firstFrames().filter(({ nicId }) => !this.#heardNics.has(nicId));
    for (const { nicId } of news) this.#heardNics.add(nicId);
    return news.map(({ nicId, atUnixUs }) => ({ nicId, atUnixUs: BigInt(atUnixUs) }));
  }
}
