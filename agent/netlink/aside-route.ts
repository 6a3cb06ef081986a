/**
 * A route that puts off what nobody has to wait for: a device that goes down has the kernel wait out grace periods, tens
 * of milliseconds where nothing hurries it, and with it the thread that asked. Another thread asks for it, on a socket of
 * its own.
 *
 * What is put off is never overtaken by a later change of the same devices: one that waits is carried out first, in the
 * caller's thread, and one that has begun is waited for. So a start that follows a stop at once costs what it did.
 */
import { Worker } from "node:worker_threads";
import { SwitchoverError } from "../../proto/error.ts";
import type { Log } from "../log.ts";
import { type AsideJob, type AsideReport, awaitJob, newAsideJob, takeJob } from "./aside-job.ts";
import type { RouteBatch } from "./route-batch.ts";
import type { RouteMessage, RoutePort, RouteResult } from "./route-port.ts";
import { answerOf, type RouteDump, type RouteRequest } from "./route-request.ts";

export interface AsideRouteParts {
  readonly route: RoutePort;
  /** Begins what makes the kernel quick (`GracePeriods.hold`), and returns how to end it. */
  readonly hurry: () => () => void;
  readonly log: Log;
  /** What the other thread runs; for tests that want it lost. */
  readonly program?: URL;
}

interface PutOff {
  readonly job: AsideJob;
  readonly batch: RouteBatch;
  readonly ifindexes: ReadonlySet<number>;
  /** Null until the other thread has been told of it. */
  endHurry: (() => void) | null;
}

const PROGRAM = new URL("./aside-thread.js", import.meta.url);
/** Longer than any grace period: what is not done by then is in a kernel that stalls. */
const DONE_TIMEOUT_MS = 5_000;
/** Devices that are gone need nothing more. */
const GONE = "ENODEV";

export class AsideRoute implements RoutePort {
  readonly #parts: AsideRouteParts;
  readonly #putOff = new Map<number, PutOff>();
  #thread: Worker | "none yet" | "lost" = "none yet";
  #jobs = 0;

  constructor(parts: AsideRouteParts) {
    this.#parts = parts;
  }

  execute(batch: RouteBatch): RouteResult[] {
    if (this.#putOff.size > 0) this.#letPass(changedBy(batch));
    return this.#parts.route.execute(batch);
  }

  executeSoon(batch: RouteBatch): void {
    const number = ++this.#jobs;
    const job = newAsideJob(number, batch.requests);
    this.#putOff.set(number, { job, batch, ifindexes: changedBy(batch), endHurry: null });
    // What counts is still to be done in this turn.
    setImmediate(() => this.#begin(number));
  }

  ready(batch: RouteBatch): void {
    this.#parts.route.ready(batch);
  }

  dump(dump: RouteDump): RouteMessage[] {
    return this.#parts.route.dump(dump);
  }

  /** What was put off is done; nothing may be asked for after. Idempotent. */
  close(): void {
    this.#finish([...this.#putOff.values()]);
    if (this.#thread instanceof Worker) void this.#thread.terminate();
    this.#thread = "lost";
  }

  #begin(number: number): void {
    const putOff = this.#putOff.get(number);
    if (putOff === undefined) return;
    const thread = this.#openThread();
    if (thread === null) {
      this.#finish([putOff]);
      return;
    }
    putOff.endHurry = this.#parts.hurry();
    thread.postMessage(putOff.job);
  }

  #openThread(): Worker | null {
    if (this.#thread !== "none yet") return this.#thread === "lost" ? null : this.#thread;
    const thread = new Worker(this.#parts.program ?? PROGRAM);
    thread.unref();
    thread.on("message", (report: AsideReport) => this.#hear(report));
    thread.on("error", (thrown) => this.#lose(thrown));
    this.#thread = thread;
    return thread;
  }

  #hear({ number, refusals }: AsideReport): void {
    const putOff = this.#putOff.get(number);
    if (putOff !== undefined) this.#settle(putOff, refusals);
  }

  /** All that it had is done here, and all that comes. */
  #lose(thrown: unknown): void {
    this.#thread = "lost";
    const { message, reason } = SwitchoverError.from(thrown);
    const sentence = `The thread that takes devices down is lost: the event loop waits for each. ${message}`;
    this.#parts.log.warn({ reason }, sentence);
    this.#finish([...this.#putOff.values()]);
  }

  #letPass(ifindexes: ReadonlySet<number>): void {
    if (ifindexes.size === 0) return;
    const inTheWay = [...this.#putOff.values()].filter((putOff) =>
      [...putOff.ifindexes].some((ifindex) => ifindexes.has(ifindex)),
    );
    this.#finish(inTheWay);
  }

  #finish(all: readonly PutOff[]): void {
    for (const putOff of all) {
      if (takeJob(putOff.job, "withdrawn")) this.#settle(putOff, this.#carryOut(putOff.batch));
      else if (!awaitJob(putOff.job, DONE_TIMEOUT_MS)) this.#settle(putOff, ["NOT_DONE"]);
      // Its report settles one that is done: it is on its way.
    }
  }

  #carryOut(batch: RouteBatch): readonly string[] {
    try {
      return this.#parts.route.execute(batch).flatMap((result) => (result.ok ? [] : [result.name]));
    } catch (thrown) {
      return [SwitchoverError.from(thrown).reason];
    }
  }

  #settle(putOff: PutOff, refusals: readonly string[]): void {
    this.#putOff.delete(putOff.job.number);
    putOff.endHurry?.();
    const unexpected = refusals.filter((name) => name !== GONE);
    if (unexpected.length === 0) return;
    const ifindexes = [...putOff.ifindexes];
    this.#parts.log.warn({ ifindexes }, `Devices were not taken down: ${unexpected.join(", ")}.`);
  }
}

/** The devices that are named by requests that change something. */
function changedBy({ requests }: RouteBatch): ReadonlySet<number> {
  return new Set(requests.flatMap((request) => (isChange(request) ? [request.ifindex] : [])));
}

function isChange(request: RouteRequest): request is Extract<RouteRequest, { readonly ifindex: number }> {
  return answerOf(request) === "ack" && "ifindex" in request;
}
