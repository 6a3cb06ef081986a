import type { Clock } from "../clock.ts";
import type { Guest } from "../guest/guest.ts";
import type { GuestFeedEvent } from "../guest/guest-operation.ts";
import type { PublishGuestEvent } from "../guest/guest-runner.ts";

/** The longest that an event waits. A switchover takes 5 to 10 ms; this leaves room for a slow one. */
const HOLD_MS = 50;
/** What ends a switchover on this host, or asks for help: it and all before it leave at once. */
const URGENT: ReadonlySet<GuestFeedEvent["$case"]> = new Set([
  "alarmRaised",
  "cpusStarted",
  "handOffAwaited",
  "takenOverPaused",
  "vmmLost",
]);
const FAILED: ReadonlySet<string> = new Set(["failed", "cancelled"]);

/**
 * Keeps events of a guest that is just switching over back until that is done, in order and with their own times.
 *
 * Nobody needs them between STOP and RESUME, and telling them costs this host and everybody who listens CPU time just
 * then: where those share CPUs with the destination's QEMU, it made the blackout 5 ms longer. The source's word does
 * not come this way.
 */
export class FeedHold {
  readonly #clock: Clock;
  readonly #publish: (said: readonly Parameters<PublishGuestEvent>[]) => void;
  readonly #held = new Map<
    string,
    { readonly said: Parameters<PublishGuestEvent>[]; readonly cancel: () => void }
  >();

  /** `publish` gets at once all that is let go at once. */
  constructor(clock: Clock, publish: (said: readonly Parameters<PublishGuestEvent>[]) => void) {
    this.#clock = clock;
    this.#publish = publish;
  }

  publish(...said: Parameters<PublishGuestEvent>): void {
    const [guest, event] = said;
    const key = `${guest.guestId}/${guest.instanceId}`;
    const held = this.#held.get(key);
    if (held !== undefined) held.said.push(said);
    else if (isSwitchingOver(guest)) {
      this.#held.set(key, { said: [said], cancel: this.#clock.after(HOLD_MS, () => this.#release(key)) });
    } else {
      this.#publish([said]);
      return;
    }
    if (isUrgent(event)) this.#release(key);
  }

  /** Publishes all that is held. */
  close(): void {
    for (const key of [...this.#held.keys()]) this.#release(key);
  }

  #release(key: string): void {
    const held = this.#held.get(key);
    if (held === undefined) return;
    this.#held.delete(key);
    held.cancel();
    this.#publish(held.said);
  }
}

/** In post-copy the source's VMM says so just before it stops the CPUs. */
function isSwitchingOver({ role, migration }: Guest): boolean {
  if (role.kind === "outgoing") return role.stop !== null || migration?.transferStatus === "postcopy-active";
  return role.kind === "incoming" && (role.loaded || role.handOff !== null);
}

function isUrgent(event: GuestFeedEvent): boolean {
  if (event.$case === "transferStatusChanged") return FAILED.has(event.value.status);
  return URGENT.has(event.$case);
}
