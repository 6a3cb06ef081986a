import { decodeMigrationState, readGuestRecord } from "../../coordinator/record/record-codec.ts";
import { SwitchoverError } from "../../proto/error.ts";
import { FeedEvent } from "../../proto/gen/switchover/v1/feed.ts";
import { HostRecord } from "../../proto/gen/switchover/v1/record.ts";
import { readJson } from "../../proto/read-json.ts";
import { FEED_ALL, FEED_STREAM, GUEST_BUCKET, HISTORY_BUCKET, HOST_BUCKET } from "../../proto/subjects.ts";
import type { Log } from "../log/log.ts";
import { Bucket } from "../nats/bucket.ts";
import { type NatsLink, waitMs } from "../nats/connection.ts";
import { StreamFollower } from "../nats/stream-follower.ts";
import type { ObserverView } from "./view/observer-view.ts";

const AGAIN_AFTER_MS = 1_000;

export interface FollowedAmounts {
  /** Ended migrations that are read at the start, the newest ones. */
  readonly migrations: number;
  /** Events that are replayed at the start, the newest ones. */
  readonly events: number;
}

/** What is read of NATS, until it is closed. */
export interface FollowedNats {
  /** Whether all that was there at the start has been read. */
  readonly replay: "done" | "under way";
  close(): Promise<void>;
}

interface Source {
  readonly what: string;
  /** Hears all there is, and what comes; may end or throw whenever it likes, and is begun anew. */
  follow(onCurrent: () => void): Promise<void>;
}

/**
 * Tells the view all that NATS keeps, and then what comes: the guests' records, ended migrations, heartbeats, and the
 * feed. By consumers only; nothing is written. While NATS is away, or has no such streams yet, it is asked again.
 */
export function followNats(
  link: NatsLink,
  view: ObserverView,
  log: Log,
  amounts: FollowedAmounts,
): FollowedNats {
  const ending = new AbortController();
  const { signal } = ending;
  const guests = new Bucket(link, GUEST_BUCKET);
  const hosts = new Bucket(link, HOST_BUCKET);
  const history = new StreamFollower(link, {
    what: "Ended migrations are not read",
    stream: `KV_${HISTORY_BUCKET}`,
    subjects: `$KV.${HISTORY_BUCKET}.>`,
    atMost: amounts.migrations,
  });
  const feed = new StreamFollower(link, {
    what: "The feed is not read",
    stream: FEED_STREAM,
    subjects: FEED_ALL,
    atMost: amounts.events,
  });
  const readable = (what: string, place: string, hear: () => void): void => {
    try {
      hear();
    } catch (thrown) {
      const { message } = SwitchoverError.from(thrown);
      log.warn({ place, fault: message }, `${what} cannot be read and is passed over.`);
    }
  };
  const sources: readonly Source[] = [
    {
      what: "records",
      follow: async (onCurrent) => {
        for await (const { key, value } of guests.watch("Records are not watched", ">", signal, onCurrent)) {
          readable("A guest's record", key, () => view.hearMigration(readGuestRecord(value).value.migration));
        }
      },
    },
    {
      what: "ended migrations",
      follow: async (onCurrent) => {
        for await (const { subject, data } of history.messages(signal, onCurrent)) {
          if (data.length === 0) continue;
          readable("An ended migration", subject, () => view.hearMigration(decodeMigrationState(data)));
        }
      },
    },
    {
      what: "hosts",
      follow: async (onCurrent) => {
        for await (const { key, created, string } of hosts.watch(
          "Hosts are not watched",
          ">",
          signal,
          onCurrent,
        )) {
          readable("A host's record", key, () =>
            view.hearHost(HostRecord.fromJSON(JSON.parse(string())), created.getTime()),
          );
        }
      },
    },
    {
      what: "the feed",
      follow: async (onCurrent) => {
        for await (const { subject, messageId, data, position } of feed.messages(signal, onCurrent)) {
          readable("An event", `${subject} ${position}`, () => {
            const event = readJson(JSON.parse(Buffer.from(data).toString("utf8")), FeedEvent.fromJSON).value;
            view.hearEvent(messageId === "" ? `${position}` : messageId, event);
          });
        }
      },
    },
  ];
  const current = new Set<Source>();
  const running = sources.map((source) => followAnew(source, () => current.add(source), log, signal));
  return {
    get replay() {
      return current.size === sources.length ? "done" : "under way";
    },
    close: async () => {
      ending.abort();
      await Promise.all(running);
    },
  };
}

/** Never rejects. A fault that lasts is told once. */
async function followAnew(
  source: Source,
  onCurrent: () => void,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  let told = "";
  while (!signal.aborted) {
    try {
      await source.follow(() => {
        told = "";
        onCurrent();
      });
    } catch (thrown) {
      const { message } = SwitchoverError.from(thrown);
      if (message !== told) log.warn({ fault: message }, `Reading ${source.what} failed and begins anew.`);
      told = message;
      await waitMs(AGAIN_AFTER_MS, signal);
    }
  }
}
