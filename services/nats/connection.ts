import { connect, DebugEvents, Events, type NatsConnection } from "nats";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log/log.ts";
import { withoutCredentials } from "../log/without-credentials.ts";

/**
 * A program's link to NATS, which is there when it is there: no program waits for NATS to do what it can do without.
 *
 * Only this folder knows the client library; the rest of Switchover sees the ports that its files implement. A link
 * connects from the moment it is made until it is closed, however often and long NATS is away.
 */
const FIRST_WAIT_MS = 100;
const LAST_WAIT_MS = 2_000;
const CONNECT_TIMEOUT_MS = 2_000;
/** A dead peer is noticed after PING_INTERVAL_MS * (MAX_PINGS_OUT + 1) at the latest. */
const PING_INTERVAL_MS = 2_000;
const MAX_PINGS_OUT = 2;
const DRAIN_TIMEOUT_MS = 1_000;

export interface NatsLinkOptions {
  /** `nats://host:port`, several separated by commas. */
  readonly url: string;
  /** Shown in the server's list of connections. */
  readonly name: string;
  readonly log: Log;
}

export class NatsLink {
  readonly #options: NatsLinkOptions;
  readonly #listeners = new Set<(connection: NatsConnection) => void>();
  readonly #closing = new AbortController();
  #connection: NatsConnection | undefined;
  #reachable: "reachable" | "away" = "away";
  #attempts = 0;
  #running: Promise<void>;

  private constructor(options: NatsLinkOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** Starts to connect and returns at once. */
  static open(options: NatsLinkOptions): NatsLink {
    return new NatsLink(options);
  }

  /**
   * The connection, undefined before the first one is made. While NATS is away it is still there: what is published on
   * it waits in the client and leaves when NATS is back; requests on it time out.
   */
  get connection(): NatsConnection | undefined {
    return this.#connection;
  }

  get state(): "reachable" | "away" {
    return this.#reachable;
  }

  /** Calls `listener` each time that NATS becomes reachable from now on; the result ends that. */
  onReturn(listener: (connection: NatsConnection) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** As onReturn, and once now if NATS is reachable. */
  onReachable(listener: (connection: NatsConnection) => void): () => void {
    const forget = this.onReturn(listener);
    if (this.#connection !== undefined && this.#reachable === "reachable") listener(this.#connection);
    return forget;
  }

  /** The connection, once NATS is reachable. Throws UNAVAILABLE / NATS_UNREACHABLE after `timeoutMs`. */
  whenReachable(timeoutMs: number): Promise<NatsConnection> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        forget();
        const sentence = `NATS at ${withoutCredentials(this.#options.url)} was not reached within ${timeoutMs} ms.`;
        reject(new SwitchoverError("UNAVAILABLE", sentence, { reason: "NATS_UNREACHABLE" }));
      }, timeoutMs);
      const forget = this.onReachable((connection) => {
        clearTimeout(timer);
        // Runs within `onReachable` itself where NATS is reachable already, before its result is assigned.
        queueMicrotask(() => forget());
        resolve(connection);
      });
    });
  }

  /** Sends what waits in the client, for up to 1 s, and closes. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    const connection = this.#connection;
    if (connection !== undefined && !connection.isClosed()) {
      if (this.#reachable === "reachable") {
        await Promise.race([connection.flush().catch(() => {}), waitMs(DRAIN_TIMEOUT_MS)]);
      }
      await connection.close();
    }
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        await this.#connectOnce();
      } catch (thrown) {
        if (this.#attempts === 0) {
          const { message } = SwitchoverError.from(thrown);
          this.#options.log.warn(
            { nats_url: withoutCredentials(this.#options.url), nats_error: message },
            "NATS is not reachable; trying on.",
          );
        }
      }
      if (!signal.aborted) await waitMs(this.#nextWaitMs(), signal);
    }
  }

  /** Returns when the connection has ended for good: by close(), or by something the client does not mend. */
  async #connectOnce(): Promise<void> {
    const connection = await connect({
      servers: this.#options.url.split(",").map((part) => part.trim()),
      name: this.#options.name,
      timeout: CONNECT_TIMEOUT_MS,
      maxReconnectAttempts: -1,
      ignoreAuthErrorAbort: true,
      reconnectDelayHandler: () => this.#nextWaitMs(),
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: MAX_PINGS_OUT,
      // An Error with a stack for every request, in case it fails, is a twentieth of a busy coordinator's time.
      noAsyncTraces: true,
    });
    if (this.#closing.signal.aborted) return connection.close();
    this.#connection = connection;
    this.#becomeReachable(connection, "NATS is connected.");
    // The iterator of a closed connection never ends, so it is not waited for.
    void this.#follow(connection);
    await connection.closed();
    this.#reachable = "away";
  }

  async #follow(connection: NatsConnection): Promise<void> {
    for await (const { type, data } of connection.status()) {
      switch (type) {
        case Events.Disconnect:
          this.#reachable = "away";
          if (!this.#closing.signal.aborted) {
            this.#options.log.warn({ nats_server: data }, "NATS is away; reconnecting.");
          }
          break;
        case Events.Reconnect:
          this.#becomeReachable(connection, "NATS is back.");
          break;
        case Events.LDM:
        case Events.Error:
        case DebugEvents.StaleConnection:
          this.#options.log.warn({ nats_event: type, nats_data: data }, "NATS reported a problem.");
          break;
        default:
          break;
      }
    }
  }

  #becomeReachable(connection: NatsConnection, sentence: string): void {
    this.#reachable = "reachable";
    this.#attempts = 0;
    this.#options.log.info({ nats_server: connection.getServer() }, sentence);
    for (const listener of [...this.#listeners]) listener(connection);
  }

  #nextWaitMs(): number {
    const longestMs = Math.min(FIRST_WAIT_MS * 2 ** this.#attempts, LAST_WAIT_MS);
    this.#attempts = Math.min(this.#attempts + 1, 16);
    // Spread, so that the agents of a whole cloud do not come back in one instant.
    return longestMs * (0.5 + Math.random() / 2);
  }
}

/** Resolves after `ms`, or as soon as `signal` aborts. */
export function waitMs(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal?.aborted) done();
    else signal?.addEventListener("abort", done, { once: true });
  });
}
