import { SwitchoverError } from "../../proto/error.ts";
import type { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import type { GuestId, HostId, MigrationId } from "../../proto/ids.ts";
import type { GivenTrace } from "../../proto/trace-context.ts";
import { backoffMs, pause } from "./pause.ts";
import type { RunnerLimits, RunnerPorts } from "./runner-ports.ts";

export interface FollowedHost {
  readonly hostId: HostId;
  readonly guestId: GuestId;
  readonly migrationId: MigrationId;
  /** The trace that the migration is in. */
  readonly trace: GivenTrace;
  /** The last sequence of the host's words that the migration has heard. */
  heardSequence(): bigint;
  onWord(message: FeedEvent): void;
  /** Told once for each outage that lasts longer than the limit. */
  onUnreachable(): void;
}

/** A stream that lived so long was a connection: one that reaches nobody is given up before. */
const STEADY_AFTER_MS = 3_000;

/**
 * Follows what a host's agent says about a migration, over broken streams and restarted agents, until it is closed.
 * Each new stream begins after what was heard, so that nothing is missed.
 */
export class HostFollower {
  readonly #host: FollowedHost;
  readonly #ports: Pick<RunnerPorts, "agents" | "clock" | "log">;
  readonly #limits: RunnerLimits;
  readonly #closed = new AbortController();
  #stream: AbortController | null = null;

  constructor(
    host: FollowedHost,
    ports: Pick<RunnerPorts, "agents" | "clock" | "log">,
    limits: RunnerLimits,
  ) {
    this.#host = host;
    this.#ports = ports;
    this.#limits = limits;
    void this.#follow();
  }

  /** Ends the present stream and opens another: words were missed between what was heard and what it brings. */
  fetchAgain(): void {
    this.#stream?.abort("closed");
  }

  close(): void {
    this.#closed.abort("closed");
    this.#stream?.abort("closed");
  }

  async #follow(): Promise<void> {
    const { clock } = this.#ports;
    let failures = 0;
    let silentSinceUnixUs: number | null = null;
    let outage: "untold" | "told" = "untold";
    while (!this.#closed.signal.aborted) {
      const openedAtUnixUs = clock.unixUs();
      const spoke = await this.#followOnce();
      const nowUnixUs = clock.unixUs();
      if (spoke || nowUnixUs - openedAtUnixUs >= STEADY_AFTER_MS * 1_000) {
        failures = 0;
        silentSinceUnixUs = null;
        outage = "untold";
      }
      silentSinceUnixUs ??= nowUnixUs;
      if (outage === "untold" && nowUnixUs - silentSinceUnixUs >= this.#limits.unreachableAfterMs * 1_000) {
        outage = "told";
        this.#host.onUnreachable();
      }
      const waitMs = backoffMs(failures, this.#limits.backoffMs, this.#limits.longestBackoffMs);
      failures += 1;
      await pause(clock, waitMs, this.#closed.signal);
    }
  }

  /** Returns whether the stream brought anything before it broke. */
  async #followOnce(): Promise<boolean> {
    const { hostId, guestId, migrationId, trace } = this.#host;
    const stream = new AbortController();
    this.#stream = stream;
    const { signal } = stream;
    let spoke = false;
    try {
      const after = this.#host.heardSequence();
      const { agents } = this.#ports;
      for await (const message of agents.follow(hostId, guestId, migrationId, after, signal, trace)) {
        if (signal.aborted) break;
        spoke = true;
        this.#host.onWord(message);
      }
    } catch (thrown) {
      if (!signal.aborted) {
        const { message, reason } = SwitchoverError.from(thrown);
        this.#ports.log.debug(
          { migration_id: migrationId, host_id: hostId, reason },
          `A stream broke: ${message}`,
        );
      }
    }
    return spoke;
  }
}
