import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { SocketAddress } from "../config/parsers.ts";
import { closeHttp, listenHttp } from "../http/listen.ts";
import type { Log } from "../log/log.ts";
import type { Metrics } from "./metrics.ts";

const PATH = "/metrics";
/** One Prometheus or a few; a flood of others costs the program nothing more. */
const CONNECTIONS_AT_MOST = 16;
const REQUEST_TIMEOUT_MS = 5_000;
const TEXT = "text/plain; charset=utf-8";

/** Metrics that can be scraped. */
export interface MetricsServer {
  /** With the port that was picked. */
  readonly url: string;
  /** Ends all connections at once. Idempotent. */
  close(): Promise<void>;
}

/**
 * Serves the metrics under /metrics, read-only and to whoever asks, and those of the process with them; undefined where
 * there is no address. Throws UNAVAILABLE / CANNOT_LISTEN. Scrapes that come while one is being written get the same one.
 */
export async function serveMetrics(
  metrics: Metrics,
  at: SocketAddress | undefined,
  log: Log,
): Promise<MetricsServer | undefined> {
  if (at === undefined) return undefined;
  let underWay: Promise<string> | undefined;
  const scrape = (): Promise<string> => {
    underWay ??= metrics.text().finally(() => {
      underWay = undefined;
    });
    return underWay;
  };
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS });
  server.maxConnections = CONNECTIONS_AT_MOST;
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    answer(request, response, scrape, metrics.contentType).catch((thrown: unknown) => {
      log.error({ err: thrown }, "The metrics could not be written.");
      if (!response.headersSent) end(response, 500, "The metrics could not be written.\n");
      else response.destroy();
    });
  });
  const url = `${await listenHttp(server, at, "Metrics")}${PATH}`;
  metrics.watchProcess();
  // The first one takes tens of milliseconds: before anything switches over here. One that fails is told with the next.
  await metrics.text().catch(() => undefined);
  log.info({ metrics_url: url }, "Metrics are served.");
  let closed: Promise<void> | undefined;
  return {
    url,
    close: () => {
      closed ??= closeHttp(server);
      return closed;
    },
  };
}

async function answer(
  { method, url = "" }: IncomingMessage,
  response: ServerResponse,
  scrape: () => Promise<string>,
  contentType: string,
): Promise<void> {
  const [path] = url.split("?");
  if (path !== PATH) end(response, 404, `Only ${PATH} is here.\n`);
  else if (method !== "GET" && method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    end(response, 405, "Metrics are only read.\n");
  } else {
    response.setHeader("cache-control", "no-store");
    end(response, 200, await scrape(), contentType);
  }
}

function end(response: ServerResponse, status: number, body: string, contentType = TEXT): void {
  response.writeHead(status, { "content-type": contentType, "x-content-type-options": "nosniff" });
  response.end(body);
}
