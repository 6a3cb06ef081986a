import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { SocketAddress } from "../../config/parsers.ts";
import { closeHttp, listenHttp } from "../../http/listen.ts";
import type { Log } from "../../log/log.ts";
import type { MigrationDetail } from "../page/wire.ts";
import type { EventStreams } from "./event-streams.ts";
import type { PageFile } from "./page-files.ts";
import { SECURITY_HEADERS } from "./security-headers.ts";

const HEADER_BYTES_AT_MOST = 8 * 1024;
const PATH_AT_MOST = 256;
const REQUEST_TIMEOUT_MS = 5_000;
const IDLE_TIMEOUT_MS = 15_000;
/** Beside the streams: pages that load, details that are asked for. */
const FURTHER_CONNECTIONS = 64;
/** What a page waits that found no room. */
const RETRY_AFTER_S = 5;
const TEXT = "text/plain; charset=utf-8";
const JSON_TYPE = "application/json";
const FILE_PATH = "/page/";
const DETAIL_PATH = "/api/migrations/";

export interface Health {
  readonly nats: "reachable" | "away";
  readonly replay: "done" | "under way";
}

export interface PageServerOptions {
  readonly at: SocketAddress;
  readonly files: ReadonlyMap<string, PageFile>;
  readonly streams: EventStreams;
  readonly readersAtMost: number;
  readonly detail: (migrationId: string) => MigrationDetail | null;
  readonly health: () => Health;
  readonly log: Log;
}

/** A page that is served. */
export interface PageServer {
  /** With the port that was picked. */
  readonly url: string;
  /** Ends all connections at once. Idempotent. */
  close(): Promise<void>;
}

/**
 * Serves the page, read-only and to whoever asks. Throws UNAVAILABLE / CANNOT_LISTEN.
 *
 *   /                     the page; /page/NAME its scripts and styles
 *   /events               all that it shows, and every change (server-sent events)
 *   /api/migrations/ID    all of one migration
 *   /healthz              200 while NATS answers and all it keeps has been read, else 503
 */
export async function servePage(options: PageServerOptions): Promise<PageServer> {
  const server = createServer({
    maxHeaderSize: HEADER_BYTES_AT_MOST,
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: IDLE_TIMEOUT_MS,
  });
  server.maxConnections = options.readersAtMost + FURTHER_CONNECTIONS;
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    try {
      answer(options, request, response);
    } catch (thrown) {
      options.log.error({ err: thrown, path: request.url?.slice(0, PATH_AT_MOST) }, "A request failed.");
      if (response.headersSent) response.destroy();
      else end(response, 500, "The observer failed; its log says how.\n");
    }
  });
  const origin = await listenHttp(server, options.at, "The page");
  let closed: Promise<void> | undefined;
  return {
    url: `${origin}/`,
    close: () => {
      closed ??= closeHttp(server);
      return closed;
    },
  };
}

function answer(options: PageServerOptions, request: IncomingMessage, response: ServerResponse): void {
  const { method, url = "" } = request;
  if (method !== "GET" && method !== "HEAD") {
    // Its body is not read.
    response.setHeader("connection", "close");
    response.setHeader("allow", "GET, HEAD");
    end(response, 405, "This page is only read.\n");
    return;
  }
  if (url.length > PATH_AT_MOST) {
    end(response, 414, "The address is too long.\n");
    return;
  }
  const [path = "", query = ""] = url.split("?");
  if (path === "/") endFile(request, response, options.files.get("index.html"));
  else if (path.startsWith(FILE_PATH)) {
    endFile(request, response, options.files.get(path.slice(FILE_PATH.length)));
  } else if (path === "/events") openStream(options, request, response, query);
  else if (path.startsWith(DETAIL_PATH)) endDetail(options, response, path.slice(DETAIL_PATH.length));
  else if (path === "/healthz") endHealth(options.health(), response);
  else end(response, 404, "Nothing is here.\n");
}

function endFile(request: IncomingMessage, response: ServerResponse, file: PageFile | undefined): void {
  if (file === undefined) {
    end(response, 404, "Nothing is here.\n");
    return;
  }
  const { body, contentType, etag } = file;
  response.setHeader("cache-control", "no-cache");
  response.setHeader("etag", etag);
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304, SECURITY_HEADERS);
    response.end();
    return;
  }
  response.writeHead(200, {
    ...SECURITY_HEADERS,
    "content-type": contentType,
    "content-length": body.length,
  });
  response.end(body);
}

function openStream(
  { streams }: PageServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  query: string,
): void {
  if (!streams.hasRoom) {
    response.setHeader("retry-after", String(RETRY_AFTER_S));
    end(response, 503, "As many pages are open as the observer serves; ask again.\n");
    return;
  }
  response.writeHead(200, {
    ...SECURITY_HEADERS,
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    // A proxy (nginx) that gathers answers would hold the stream back.
    "x-accel-buffering": "no",
  });
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  // A page whose stream was refused, and not only broken, opens another one, which sends no Last-Event-ID.
  const asked = request.headers["last-event-id"] ?? new URLSearchParams(query).get("after") ?? "";
  streams.add(response, String(asked));
}

function endDetail({ detail }: PageServerOptions, response: ServerResponse, migrationId: string): void {
  const found = detail(migrationId);
  response.setHeader("cache-control", "no-store");
  if (found === null) end(response, 404, "No such migration is kept here.\n");
  else end(response, 200, JSON.stringify(found), JSON_TYPE);
}

function endHealth(health: Health, response: ServerResponse): void {
  const isWell = health.nats === "reachable" && health.replay === "done";
  response.setHeader("cache-control", "no-store");
  end(response, isWell ? 200 : 503, `${JSON.stringify(health)}\n`, JSON_TYPE);
}

function end(response: ServerResponse, status: number, body: string, contentType = TEXT): void {
  response.writeHead(status, { ...SECURITY_HEADERS, "content-type": contentType });
  response.end(body);
}
