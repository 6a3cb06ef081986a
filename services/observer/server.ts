import { randomBytes } from "node:crypto";
import type { Log } from "../log/log.ts";
import { withoutCredentials } from "../log/without-credentials.ts";
import { NatsLink } from "../nats/connection.ts";
import { followNats } from "./follow-nats.ts";
import { EventStreams } from "./http/event-streams.ts";
import { readPageFiles } from "./http/page-files.ts";
import { servePage } from "./http/page-server.ts";
import type { ObserverValues } from "./settings.ts";
import { ObserverView } from "./view/observer-view.ts";

const DAY_MS = 86_400_000;
const SWEEP_MS = 1_000;
/** Ages of heartbeats that every page is told every few seconds: 30 bytes each. */
const HEARD_AT_MOST = 2_000;

/** An observer that answers. */
export interface ObserverServer {
  /** Where the page is, with the port that was picked. */
  readonly url: string;
  /** Ends all streams, then the link. */
  close(): Promise<void>;
}

/**
 * Starts an observer. The page is there at once and says that it is still reading; NATS may come and go. Throws
 * UNAVAILABLE / CANNOT_LISTEN, and what `stop` says where that has aborted.
 */
export async function startObserverServer(
  values: ObserverValues,
  log: Log,
  stop: AbortSignal = new AbortController().signal,
): Promise<ObserverServer> {
  stop.throwIfAborted();
  const view = new ObserverView(
    { migrations: values["keep-migrations"], ageMs: values["keep-days"] * DAY_MS },
    Date.now(),
  );
  const link = NatsLink.open({ url: values["nats-url"], name: "observer", log });
  const nats = followNats(link, view, log, {
    migrations: values["keep-migrations"],
    events: values["replay-events"],
  });
  const streams = new EventStreams({
    changes: view.changes,
    beat: () => ({
      nowMs: Date.now(),
      nats: link.state,
      replay: nats.replay,
      heard: view.heard(HEARD_AT_MOST),
    }),
    instance: randomBytes(6).toString("hex"),
    readersAtMost: values["max-readers"],
  });
  view.changes.onChange(() => streams.changed());
  const sweeps = setInterval(() => view.sweep(Date.now()), SWEEP_MS);
  const close = async (): Promise<void> => {
    clearInterval(sweeps);
    streams.close();
    await nats.close();
    await link.close();
  };
  try {
    const server = await servePage({
      at: values.listen,
      files: readPageFiles(),
      streams,
      readersAtMost: values["max-readers"],
      detail: (migrationId) => view.detail(migrationId),
      health: () => ({ nats: link.state, replay: nats.replay }),
      log,
    });
    log.info({ url: server.url, nats_url: withoutCredentials(values["nats-url"]) }, "The observer listens.");
    return {
      url: server.url,
      close: async () => {
        streams.close();
        await server.close();
        await close();
      },
    };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}
