import type { Fence } from "../../proto/epoch.ts";
import { SwitchoverError } from "../../proto/error.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestId } from "../../proto/ids.ts";
import type { Guest } from "../guest/guest.ts";
import type { GuestFeedEvent } from "../guest/guest-operation.ts";
import type { PublishGuestEvent } from "../guest/guest-runner.ts";
import { logFieldsOf } from "../guest/log-fields.ts";
import type { HostAgentPorts } from "../host-agent-ports.ts";
import { FeedFollowers } from "./feed-followers.ts";
import { FeedHold } from "./feed-hold.ts";
import { FeedPublisher } from "./feed-publisher.ts";
import { FeedSpool, type NewEvent } from "./feed-spool.ts";
import { subjectOf } from "./feed-subject.ts";
import type { SpooledEvent } from "./spooled-event.ts";
import { traceIn } from "./told-traces.ts";
import { ToldWords } from "./told-words.ts";

/** A disk that takes longer than this is not waited for: followers hear what a dead host would lose. */
const SYNC_LIMIT_MS = 1_000;
/** So long, and so often, a disk without room is asked again, before followers hear what a killed agent would lose. */
const ROOM_TRIES = 100;
const ROOM_RETRY_MS = 10;
/** How often it is written down what the stream is known to hold. */
const MARK_AFTER_MS = 1_000;
/** A follower that is farther ahead of this agent asks for another's words. */
const LOST_LIMIT = 1_000_000n;

export type AgentFeedPorts = Pick<
  HostAgentPorts,
  "hostId" | "clock" | "log" | "spool" | "feed" | "meter" | "traces"
>;

/**
 * What this agent says, to the feed and to followers. In this order: held back while its guest switches over, numbered
 * and spooled in one write, synced, and only then heard by anybody. So nobody ever acts on a word that the feed can
 * still lose, whoever is killed; no disk is waited for between STOP and RESUME.
 */
export class AgentFeed {
  readonly #ports: AgentFeedPorts;
  readonly #spool: FeedSpool;
  readonly #hold: FeedHold;
  readonly #followers: FeedFollowers;
  readonly #publisher: FeedPublisher;
  readonly #toldWords = new ToldWords();
  #unheard: SpooledEvent[] = [];
  #syncing: "no" | "yes" = "no";
  #cancelMark: (() => void) | null = null;
  readonly #awaitingDrain = new Set<() => void>();
  #room: "hoped for" | "despaired of" = "hoped for";
  #state: "open" | "closed" = "open";

  /** Goes on where the spool ends, and sends what the stream lacks. */
  constructor(ports: AgentFeedPorts) {
    const { clock, log, hostId } = ports;
    this.#ports = ports;
    const onFound = (body: string): void => {
      this.#toldWords.recover(body);
      const trace = traceIn(body);
      if (trace !== null) ports.traces?.note(trace.migrationId, trace);
    };
    this.#spool = new FeedSpool({ hostId, store: ports.spool, clock, log, onFound });
    this.#hold = new FeedHold(clock, (said) => this.#say(said));
    this.#followers = new FeedFollowers(this.#spool);
    this.#publisher = new FeedPublisher({
      spool: this.#spool,
      stream: ports.feed,
      clock,
      log,
      renumber: (subject, taken, predecessor) =>
        this.#spread(this.#spool.renumber(subject, taken, predecessor)),
      onIdle: () => this.#judgeDrained(),
    });
    for (const subject of this.#spool.unsentSubjects()) this.#publisher.wake(subject);
  }

  /** Under the migration's name where the guest has one. Never fails, never waits. */
  publish(...said: Parameters<PublishGuestEvent>): void {
    const [guest, event] = said;
    this.#toldWords.note(guest, migrationIdOf(guest), event);
    this.#hold.publish(...said);
  }

  /** Whether what became of the word journaled under `since` is said already; an agent that is killed may take it back. */
  wasTold(guest: Guest, kind: GuestFeedEvent["$case"], since: Fence): boolean {
    return this.#toldWords.has(guest, migrationIdOf(guest), kind, since);
  }

  /**
   * All that was said about the migration (about the guest, where it is empty) after `afterSequence`, then each new
   * word, until `signal`. A follower that heard more than this agent has said listened to one whose spool is lost: what
   * this one said since comes after that. Throws OUT_OF_RANGE where that cannot be.
   */
  follow(
    guestId: GuestId,
    migrationId: string,
    afterSequence: bigint,
    signal: AbortSignal,
  ): AsyncIterable<FeedEvent> {
    const { hostId } = this.#ports;
    const subject = subjectOf({ guestId, migrationId }, hostId);
    const last = this.#spool.lastSequence(subject);
    if (afterSequence > last + LOST_LIMIT) {
      throw new SwitchoverError("OUT_OF_RANGE", `This agent never said as much as ${afterSequence} events.`, {
        reason: "SEQUENCE_UNKNOWN",
        field: "after_sequence",
      });
    }
    if (afterSequence > last) this.#spread(this.#spool.renumber(subject, afterSequence));
    return this.#followers.follow({ guestId, migrationId, hostId }, afterSequence, signal);
  }

  /** How many events the stream is not known to hold. */
  get unsent(): number {
    return this.#spool.unsent;
  }

  /** When the oldest of them was said; null where there is none. Microseconds, Unix. */
  get oldestUnsentUnixUs(): number | null {
    return this.#spool.oldestUnsentUnixUs;
  }

  /** Tells what is held back; resolves with how many events the stream lacks, after `timeoutMs` or once that is none. */
  async drain(timeoutMs: number): Promise<number> {
    this.#hold.close();
    if (this.#spool.unsent === 0) return 0;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        cancel();
        this.#awaitingDrain.delete(done);
        resolve();
      };
      const cancel = this.#ports.clock.after(timeoutMs, done);
      this.#awaitingDrain.add(done);
    });
    return this.#spool.unsent;
  }

  /** Lets go of spool and stream, what is held back in the spool; the next agent sends the rest. Idempotent. */
  close(): void {
    if (this.#state === "closed") return;
    this.#hold.close();
    this.#state = "closed";
    this.#cancelMark?.();
    this.#publisher.close();
    this.#spool.close();
  }

  #judgeDrained(): void {
    if (this.#spool.unsent === 0) for (const done of [...this.#awaitingDrain]) done();
  }

  #say(said: readonly Parameters<PublishGuestEvent>[]): void {
    this.#spread(this.#spool.append(said.map((one) => this.#eventOf(...one))));
    for (const [guest, event, atUnixUs] of said) {
      this.#log(guest, event);
      this.#ports.meter?.said(guest, event, atUnixUs);
    }
  }

  #spread(events: readonly SpooledEvent[]): void {
    this.#unheard.push(...events);
    if (this.#syncing === "no" && events.length > 0) void this.#syncAndReveal();
  }

  async #syncAndReveal(): Promise<void> {
    this.#syncing = "yes";
    while (this.#unheard.length > 0 && this.#state === "open") {
      const events = this.#unheard;
      this.#unheard = [];
      if (this.#spool.offerUnspooled() === "takes") this.#room = "hoped for";
      else await this.#awaitRoom();
      await this.#sync();
      this.#reveal(events);
    }
    this.#syncing = "no";
  }

  /** Once for each time that the disk has no room: a migration must not wait for the feed. */
  async #awaitRoom(): Promise<void> {
    if (this.#room === "despaired of") return;
    this.#room = "despaired of";
    for (let tries = 0; tries < ROOM_TRIES; tries += 1) {
      await new Promise<void>((resolve) => void this.#ports.clock.after(ROOM_RETRY_MS, resolve));
      if (this.#state === "closed") return;
      if (this.#spool.offerUnspooled() === "refuses") continue;
      this.#room = "hoped for";
      return;
    }
  }

  /** One flush for all that came while the last one ran. */
  async #sync(): Promise<void> {
    let cancel = (): void => {};
    const limit = new Promise<void>((resolve) => {
      cancel = this.#ports.clock.after(SYNC_LIMIT_MS, resolve);
    });
    const synced = this.#spool.sync().catch((thrown: unknown) => {
      const { message, reason } = SwitchoverError.from(thrown);
      this.#ports.log.error({ host_id: this.#ports.hostId, reason }, `The feed is not synced: ${message}`);
    });
    await Promise.race([synced, limit]);
    cancel();
  }

  #reveal(events: readonly SpooledEvent[]): void {
    if (this.#state === "closed") return;
    this.#spool.reveal(events);
    for (const subject of new Set(events.map(({ subject }) => subject))) {
      this.#followers.wake(subject);
      this.#publisher.wake(subject);
    }
    this.#cancelMark ??= this.#ports.clock.after(MARK_AFTER_MS, () => {
      this.#cancelMark = null;
      this.#spool.mark();
    });
  }

  #eventOf(guest: Guest, event: GuestFeedEvent, atUnixUs: number): NewEvent {
    const migrationId = migrationIdOf(guest);
    const trace = this.#ports.traces?.givenFor(migrationId);
    return {
      migrationId,
      guestId: guest.guestId,
      hostId: guest.hostId,
      instanceId: guest.instanceId,
      fence: guest.fence,
      atUnixUs: BigInt(atUnixUs),
      traceparent: trace?.traceparent,
      tracestate: trace?.tracestate,
      event,
    };
  }

  #log(guest: Guest, event: GuestFeedEvent): void {
    const { log } = this.#ports;
    const fields = { event: event.$case, ...logFieldsOf(guest) };
    if (event.$case === "alarmRaised") {
      log.error({ ...fields, reason: event.value.reason }, event.value.sentence);
    } else if (event.$case === "transferProgressed") log.debug(fields, "Published");
    else log.info(fields, "Published");
  }
}

function migrationIdOf({ migration }: Guest): string {
  return migration?.migrationId ?? "";
}
