import type { Appended, FeedMessage, FeedStream, StoredMessage } from "../../../agent/feed/feed-stream.ts";
import type { HandOffBus } from "../../../agent/host-agent-ports.ts";
import type { RecordStore, StoredRecord } from "../../../coordinator/record/record-store.ts";
import type { FeedPort } from "../../../coordinator/runner/feed-port.ts";
import { type ErrorCode, SwitchoverError } from "../../../proto/error.ts";
import { FeedEvent } from "../../../proto/gen/switchover/v1/feed.ts";
import type { HandOff } from "../../../proto/gen/switchover/v1/guest.ts";
import type { GuestRecord, MigrationState } from "../../../proto/gen/switchover/v1/record.ts";
import type { GuestId, MigrationId } from "../../../proto/ids.ts";
import { feedSubject } from "../../../proto/subjects.ts";
import type { Grinder } from "../engine/grain.ts";
import { SimulatedProcess } from "../engine/simulated-process.ts";
import type { Timeline } from "../engine/timeline.ts";
import { callOver, type Peer } from "./call.ts";
import type { SimulatedNetwork } from "./network.ts";
import { ToldOnce } from "./told-once.ts";

export const NATS = "nats";
/** A watch is pushed a little later than a write is answered. */
const WATCH_DELAY_US = { least: 1_000, most: 10_000 } as const;
const CALL_TIMEOUT_MS = 2_000;

interface Watcher {
  readonly peer: Peer;
  readonly brought: StoredRecord[];
  readonly onTheWay: Set<string>;
  wake: () => void;
}

/** The nats-server with its buckets and its stream. Its disk outlives it. */
export class SimulatedNats {
  readonly feed = new SimulatedFeed();
  readonly #timeline: Timeline;
  readonly #network: SimulatedNetwork;
  readonly #grinder: Grinder;
  readonly #records = new Map<string, StoredRecord>();
  readonly #archive = new Map<string, MigrationState>();
  readonly #subscribers = new Map<
    string,
    Set<{ readonly peer: Peer; readonly hear: (word: HandOff) => void }>
  >();
  readonly #watchers = new Set<Watcher>();
  readonly #lookers: (() => void)[] = [];
  #revision = 0;
  #server: SimulatedProcess;

  constructor(timeline: Timeline, network: SimulatedNetwork, grinder: Grinder) {
    this.#grinder = grinder;
    this.#timeline = timeline;
    this.#network = network;
    this.#server = new SimulatedProcess(NATS, timeline);
  }

  get server(): SimulatedProcess {
    return this.#server;
  }

  restart(): void {
    if (this.#server.state !== "dead") return;
    this.#server = new SimulatedProcess(NATS, this.#timeline);
    // Watchers are connected anew, and brought everything again.
    for (const watcher of this.#watchers)
      for (const guestId of this.#records.keys()) this.#bring(watcher, guestId);
  }

  /** What is over keeps nothing alive: garbage that was promoted once is only collected with all of old space. */
  close(): void {
    this.#server.kill();
    this.#watchers.clear();
    this.#subscribers.clear();
    this.#records.clear();
    this.#archive.clear();
    this.#lookers.length = 0;
  }

  /** The record as it stands, read by nobody of the simulated world. */
  record(guestId: string): GuestRecord | undefined {
    return this.#records.get(guestId)?.record;
  }

  archived(migrationId: string): MigrationState | undefined {
    return this.#archive.get(migrationId);
  }

  handOffBus(peer: Peer): HandOffBus {
    return {
      publish: (word) => {
        if (peer.process.state === "dead") return;
        this.#network.sendOnce(peer.node, NATS, () => {
          if (this.#server.state === "dead") return;
          for (const { peer: to, hear } of this.#subscribers.get(word.guestId) ?? []) {
            this.#network.sendOnce(NATS, to.node, () => to.process.run(() => hear(word)));
          }
        });
      },
      subscribe: (guestId, hear) => {
        const subscribers = this.#subscribers.get(guestId) ?? new Set();
        const subscriber = { peer, hear };
        subscribers.add(subscriber);
        this.#subscribers.set(guestId, subscribers);
        peer.process.onDeath(() => subscribers.delete(subscriber));
        return () => subscribers.delete(subscriber);
      },
    };
  }

  recordStore(peer: Peer): RecordStore {
    const call = <Value>(work: () => Value) => this.call(peer, work);
    const write = (record: GuestRecord, expected: number | undefined): StoredRecord => {
      if (this.#records.get(record.guestId)?.revision !== expected)
        throw fault("ABORTED", "REVISION_CONFLICT");
      this.#revision += 1;
      const stored = { record, revision: this.#revision };
      this.#records.set(record.guestId, stored);
      for (const watcher of this.#watchers) this.#bring(watcher, record.guestId);
      for (const look of this.#lookers.splice(0)) look();
      return stored;
    };
    return {
      get: (guestId) => call(() => this.#records.get(guestId) ?? null),
      create: (record) => call(() => write(record, undefined)),
      update: (record, expectedRevision) => call(() => write(record, expectedRevision)),
      watch: () => {
        throw fault("UNIMPLEMENTED", "NOT_SIMULATED");
      },
      keys: () => this.#keys(peer),
      watchAll: (signal) => this.#watchAll(peer, signal),
      archive: (state) => call(() => this.#keep(state)),
      readArchived: (migrationId) => call(() => this.#archive.get(migrationId) ?? null),
    };
  }

  /** A method: a generator made for each store has a map in old space, which keeps a world alive that is over. */
  async *#keys(peer: Peer): AsyncIterable<GuestId> {
    yield* await this.call(peer, () => [...this.#records.keys()] as GuestId[]);
  }

  #keep(state: MigrationState): void {
    this.#archive.set(state.migration?.migrationId ?? "", state);
    for (const look of this.#lookers.splice(0)) look();
  }

  /** Resolves with the next write of a record or to the history. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#lookers.push(resolve));
  }

  feedPort(peer: Peer): FeedPort {
    return {
      publish: (event, messageId) =>
        this.call(peer, () => this.feed.append(coordinatorSubject(event.migrationId), event, messageId)),
      lastSequence: (migrationId) =>
        this.call(peer, () => this.feed.last(coordinatorSubject(migrationId))?.sequence ?? 0n),
    };
  }

  /** The feed as an agent writes to it. */
  feedStream(peer: Peer): FeedStream {
    return {
      last: (subject) => this.call(peer, () => this.feed.last(subject)),
      append: (message, after) => this.call(peer, () => this.feed.appendAfter(message, after)),
    };
  }

  async *#watchAll(peer: Peer, signal: AbortSignal): AsyncIterable<StoredRecord> {
    const watcher: Watcher = {
      peer,
      brought: [...this.#records.values()],
      onTheWay: new Set(),
      wake: () => {},
    };
    this.#watchers.add(watcher);
    const onAbort = () => watcher.wake();
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted) {
        const next = watcher.brought.shift();
        if (next !== undefined) yield next;
        else {
          await new Promise<void>((resolve) => {
            watcher.wake = resolve;
          });
        }
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#watchers.delete(watcher);
    }
  }

  /** A watch may skip what was overtaken on the way. */
  #bring(watcher: Watcher, guestId: string): void {
    const { peer, brought, onTheWay } = watcher;
    if (onTheWay.has(guestId)) return;
    onTheWay.add(guestId);
    const arrive = () => {
      onTheWay.delete(guestId);
      const stored = this.#records.get(guestId);
      if (stored === undefined) return;
      peer.process.run(() => {
        brought.push(stored);
        watcher.wake();
      });
    };
    this.#network.send(
      NATS,
      peer.node,
      arrive,
      () => {},
      this.#grinder.delayUs(WATCH_DELAY_US.least, WATCH_DELAY_US.most),
    );
  }

  /** A request to the server; whatever goes wrong on the way leaves its outcome unknown. */
  async call<Answer>(peer: Peer, handle: () => Answer): Promise<Answer> {
    try {
      const server = () => ({ node: NATS, process: this.#server });
      return await callOver(this.#network, peer, server, { deadlineMs: CALL_TIMEOUT_MS }, NATS, handle);
    } catch (thrown) {
      const error = SwitchoverError.from(thrown);
      if (error.code === "DEADLINE_EXCEEDED") throw fault("UNAVAILABLE", "OUTCOME_UNKNOWN");
      throw error;
    }
  }
}

/** The stream of the feed: its messages by subject, and whether an observer finds them whole. */
export class SimulatedFeed {
  /** Of every event that agents put there, in the order of the stream. */
  onHostEvent: ((event: FeedEvent) => void) | null = null;
  /** The first break in a subject's numbers, in words. */
  fault: string | null = null;
  /** Whether numbers of this subject were told from memory alone, for want of room on its host's disk. */
  mayLackNumbers: (subject: string) => boolean = () => false;
  /** Whether a host's disk may have lost words that its agent had told. */
  hasLostWords: (hostId: string) => boolean = () => false;
  /** When the agent of a host was started that lived at a time. */
  lifeBeganUnixUs: (hostId: string, atUnixUs: bigint) => bigint = () => 0n;
  readonly #toldOnce = new ToldOnce();
  readonly #subjects = new Map<string, StoredMessage>();
  readonly #messageIds = new Map<string, number>();
  #position = 0;

  /** What a coordinator publishes. */
  append(subject: string, { sequence }: FeedEvent, messageId: string): void {
    if (!this.#messageIds.has(messageId)) this.#store(subject, messageId, sequence);
  }

  last(subject: string): StoredMessage | null {
    return this.#subjects.get(subject) ?? null;
  }

  appendAfter({ subject, messageId, body }: FeedMessage, after: number): Appended {
    const known = this.#messageIds.get(messageId);
    if (known !== undefined) return { t: "stored", position: known };
    if ((this.#subjects.get(subject)?.position ?? 0) !== after) return { t: "overtaken" };
    const position = this.#store(subject, messageId, sequenceIn(messageId));
    if (this.onHostEvent === null && !this.#toldOnce.concerns(body)) return { t: "stored", position };
    const event = FeedEvent.fromJSON(JSON.parse(body));
    const { hostId } = event;
    const disk = this.mayLackNumbers(subject) || this.hasLostWords(hostId) ? "lost words" : "has all";
    const lifeBeganUnixUs = this.lifeBeganUnixUs(hostId, event.atUnixUs);
    this.fault ??= this.#toldOnce.repeated(event, lifeBeganUnixUs, disk);
    this.onHostEvent?.(event);
    return { t: "stored", position };
  }

  #store(subject: string, messageId: string, sequence: bigint): number {
    const last = this.#subjects.get(subject)?.sequence ?? 0n;
    const lacks = sequence > last + 1n && !this.mayLackNumbers(subject);
    if (lacks || sequence <= last) this.fault ??= `Under ${subject}, ${sequence} came after ${last}.`;
    this.#position += 1;
    this.#subjects.set(subject, { position: this.#position, messageId, sequence });
    this.#messageIds.set(messageId, this.#position);
    return this.#position;
  }
}

/** An agent's message ids end in the number of its event. */
function sequenceIn(messageId: string): bigint {
  return BigInt(messageId.slice(messageId.lastIndexOf(":") + 1));
}

function coordinatorSubject(migrationId: string): string {
  return feedSubject({ t: "migration", migrationId: migrationId as MigrationId }, { t: "coordinator" });
}

function fault(code: ErrorCode, reason: string): SwitchoverError {
  return new SwitchoverError(code, `NATS: ${reason}.`, { reason });
}
