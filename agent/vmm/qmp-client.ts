/**
 * A connection to a QEMU's monitor (QMP), made for the microseconds of a switchover:
 *
 * - every event and every answer reaches its listener inside the socket's data handler, with no promise between;
 *   promises are a layer above for those who can wait a turn of the event loop;
 * - commands are written in the call that asks for them, and may be pipelined;
 * - each command has a deadline; a command whose answer did not come has an *unknown* outcome, and its late
 *   answer is ignored, unless it is a refusal that somebody wants to know of.
 *
 * A QMP socket serves one client. A second one connects, but QEMU greets it only when the first has gone.
 */
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { SwitchoverError } from "../../proto/error.ts";
import type { Clock } from "../clock.ts";
import {
  type JsonObject,
  parseQmpLine,
  QmpLineSplitter,
  type QmpMessage,
  type QmpVersion,
} from "./qmp-codec.ts";
import { type QmpAnswer, type QmpMeter, QmpRequests } from "./qmp-requests.ts";
import { surfaceFault } from "./surface-fault.ts";
import { readPeerProcess, type VmmProcess } from "./vmm-process.ts";

export interface QmpEvent {
  /** As QEMU spells it: `STOP`, `MIGRATION`. */
  readonly name: string;
  readonly data: JsonObject;
  /** When QEMU says it happened; the time of receipt where QEMU could not read its clock. */
  readonly atUnixUs: number;
  readonly receivedAtUnixUs: number;
}

export type QmpEndpoint = { readonly path: string } | { readonly stream: Duplex };

export type OpenQmpOptions = QmpEndpoint & {
  /** Bounds connecting, greeting and negotiation together. */
  readonly connectTimeoutMs: number;
  readonly clock: Clock;
  /** Called inside the data handler. The first call may precede the resolution of `openQmp`. Must not throw. */
  readonly onEvent: (event: QmpEvent) => void;
  /** Called once if the connection ends by anything but `close()`, after every pending command was answered. */
  readonly onClosed: (error: SwitchoverError, atUnixUs: number) => void;
  /** Without it nobody counts commands. */
  readonly meter?: QmpMeter;
  /** Sees every line as it is sent or received, for logs and recordings. */
  readonly onLine?: (direction: "sent" | "received", line: string, atUnixUs: number) => void;
};

export interface QmpCommandOptions {
  readonly timeoutMs: number;
  /** Called where QEMU refuses a command to whose `onAnswer` it had timed out. */
  readonly onLateRefusal?: ((error: SwitchoverError) => void) | undefined;
}

export interface QmpClient {
  readonly version: QmpVersion;
  readonly outOfBand: "enabled" | "not-offered";
  /** The process behind the socket, where it can be seen. */
  readonly process: VmmProcess | undefined;
  /** Writes the command now; `onAnswer` is called once, inside the data handler that reads the answer. */
  send(
    command: string,
    args: JsonObject | undefined,
    onAnswer: (answer: QmpAnswer) => void,
    options: QmpCommandOptions,
  ): void;
  /** `send` by `exec-oob`: answered even while QEMU's main loop is stuck in a page fault. */
  sendOutOfBand(
    command: string,
    args: JsonObject | undefined,
    onAnswer: (answer: QmpAnswer) => void,
    options: QmpCommandOptions,
  ): void;
  /**
   * Resolves with QEMU's value. Rejects with FAILED_PRECONDITION QMP_REFUSED (QEMU's words in metadata.desc),
   * DEADLINE_EXCEEDED QMP_TIMEOUT (metadata.outcome `unknown`, or `not-sent`), UNAVAILABLE QMP_CLOSED
   * (outcome unknown), RESOURCE_EXHAUSTED QMP_QUEUE_FULL (not sent).
   */
  execute(command: string, args: JsonObject | undefined, options: QmpCommandOptions): Promise<unknown>;
  executeOutOfBand(
    command: string,
    args: JsonObject | undefined,
    options: QmpCommandOptions,
  ): Promise<unknown>;
  /** Ends the connection and answers what is pending with QMP_CLOSED. QEMU and its guest go on. Idempotent. */
  close(): void;
}

/**
 * Connects, waits for the greeting and negotiates, with out-of-band commands where QEMU offers them.
 * Rejects with UNAVAILABLE and reason QMP_UNREACHABLE (no socket, nobody listens), QMP_BUSY (connected, but not
 * greeted before the deadline) or QMP_CLOSED; INTERNAL QMP_MALFORMED where the other side does not speak QMP;
 * DEADLINE_EXCEEDED QMP_TIMEOUT where it greets and then does not answer.
 */
export function openQmp(options: OpenQmpOptions): Promise<QmpClient> {
  return new Promise((resolve, reject) => {
    new QmpConnection(options, resolve, reject);
  });
}

/**
 * QEMU listens with a backlog of one: while another client waits in it, connect() answers EAGAIN. That passes as soon
 * as QEMU's main loop has come round, so it is tried again until the deadline.
 */
const FULL_BACKLOG_RETRY_MS = 10;

const NO_VERSION: QmpVersion = { major: 0, minor: 0, micro: 0, packageText: "" };

class QmpConnection implements QmpClient {
  version: QmpVersion = NO_VERSION;
  outOfBand: "enabled" | "not-offered" = "not-offered";
  process: VmmProcess | undefined;
  /** Undefined while it waits to connect anew. */
  #stream: Duplex | undefined;
  readonly #options: OpenQmpOptions;
  readonly #requests: QmpRequests;
  readonly #splitter = new QmpLineSplitter();
  readonly #resolve: (client: QmpClient) => void;
  readonly #reject: (error: SwitchoverError) => void;
  readonly #cancelDeadline: () => void;
  #state: "greeting" | "negotiating" | "ready" | "closed" = "greeting";

  constructor(
    options: OpenQmpOptions,
    resolve: (client: QmpClient) => void,
    reject: (error: SwitchoverError) => void,
  ) {
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#requests = new QmpRequests((line) => this.#write(line), options.clock, options.meter);
    this.#cancelDeadline = options.clock.after(options.connectTimeoutMs, () => this.#tooLate());
    this.#stream = this.#connect();
  }

  send(
    command: string,
    args: JsonObject | undefined,
    onAnswer: (answer: QmpAnswer) => void,
    { timeoutMs, onLateRefusal }: QmpCommandOptions,
  ): void {
    this.#requests.send({ band: "in-band", command, args, timeoutMs, onAnswer, onLateRefusal });
  }

  sendOutOfBand(
    command: string,
    args: JsonObject | undefined,
    onAnswer: (answer: QmpAnswer) => void,
    { timeoutMs, onLateRefusal }: QmpCommandOptions,
  ): void {
    this.#requests.send({ band: "out-of-band", command, args, timeoutMs, onAnswer, onLateRefusal });
  }

  execute(command: string, args: JsonObject | undefined, options: QmpCommandOptions): Promise<unknown> {
    return promiseOf((onAnswer) => this.send(command, args, onAnswer, options));
  }

  executeOutOfBand(
    command: string,
    args: JsonObject | undefined,
    options: QmpCommandOptions,
  ): Promise<unknown> {
    return promiseOf((onAnswer) => this.sendOutOfBand(command, args, onAnswer, options));
  }

  close(): void {
    this.#end(closedError("The QMP connection was closed by its owner."), "by-owner");
  }

  #connect(): Duplex {
    const stream = "stream" in this.#options ? this.#options.stream : connect({ path: this.#options.path });
    stream.on("data", (chunk: Uint8Array) => this.#read(chunk));
    stream.on("error", (cause: Error) => {
      if (this.#state === "greeting" && "code" in cause && cause.code === "EAGAIN") this.#connectLater();
      else this.#end(this.#socketError(cause));
    });
    stream.on("end", () => this.#end(closedError("QEMU closed the QMP connection.")));
    stream.on("close", () => {
      if (stream === this.#stream) this.#end(closedError("The QMP connection is closed."));
    });
    return stream;
  }

  #connectLater(): void {
    this.#stream = undefined;
    this.#options.clock.after(FULL_BACKLOG_RETRY_MS, () => {
      if (this.#state === "greeting") this.#stream = this.#connect();
    });
  }

  #write(line: string): void {
    this.#options.onLine?.("sent", line.trimEnd(), this.#options.clock.unixUs());
    this.#stream?.write(line);
  }

  #read(chunk: Uint8Array): void {
    if (this.#state === "closed") return;
    const receivedAtUnixUs = this.#options.clock.unixUs();
    try {
      this.#splitter.push(chunk, (line) => {
        this.#options.onLine?.("received", line, receivedAtUnixUs);
        this.#take(parseQmpLine(line), receivedAtUnixUs);
      });
    } catch (thrown) {
      this.#end(SwitchoverError.from(thrown));
    }
  }

  #take(message: QmpMessage, receivedAtUnixUs: number): void {
    if (this.#state === "closed") return;
    switch (message.kind) {
      case "greeting":
        if (this.#state === "greeting") this.#negotiate(message);
        return;
      case "event":
        surfaceFault(() =>
          this.#options.onEvent({
            name: message.name,
            data: message.data,
            atUnixUs: message.atUnixUs ?? receivedAtUnixUs,
            receivedAtUnixUs,
          }),
        );
        return;
      case "return":
      case "error":
        this.#requests.answer(message, receivedAtUnixUs);
    }
  }

  #negotiate(greeting: Extract<QmpMessage, { kind: "greeting" }>): void {
    const oobOffered = greeting.capabilities.includes("oob");
    this.version = greeting.version;
    this.outOfBand = oobOffered ? "enabled" : "not-offered";
    this.#state = "negotiating";
    this.send(
      "qmp_capabilities",
      oobOffered ? { enable: ["oob"] } : undefined,
      (answer) => {
        if (answer.kind === "failed") return this.#end(answer.error);
        this.#cancelDeadline();
        this.#state = "ready";
        this.process = this.#readProcess();
        this.#resolve(this);
      },
      { timeoutMs: this.#options.connectTimeoutMs },
    );
  }

  /** Node has no public way to a socket's descriptor. */
  #readProcess(): VmmProcess | undefined {
    const { _handle: handle } = this.#stream as { _handle?: { fd?: number } | null };
    return "path" in this.#options && handle?.fd !== undefined && handle.fd >= 0
      ? readPeerProcess(handle.fd, this.#options.path)
      : undefined;
  }

  #tooLate(): void {
    const { connectTimeoutMs } = this.#options;
    this.#end(
      this.#state === "greeting"
        ? new SwitchoverError(
            "UNAVAILABLE",
            `No QMP greeting came within ${connectTimeoutMs} ms: another client holds the socket.`,
            { reason: "QMP_BUSY" },
          )
        : new SwitchoverError("DEADLINE_EXCEEDED", `QMP was not ready within ${connectTimeoutMs} ms.`, {
            reason: "QMP_TIMEOUT",
            metadata: { command: "qmp_capabilities", outcome: "unknown" },
          }),
    );
  }

  #end(error: SwitchoverError, cause: "by-owner" | "by-fault" = "by-fault"): void {
    if (this.#state === "closed") return;
    const wasReady = this.#state === "ready";
    this.#state = "closed";
    this.#cancelDeadline();
    this.#stream?.destroy();
    this.#requests.close(wasReady ? asClosed(error) : error);
    this.#reject(error);
    if (wasReady && cause === "by-fault") {
      surfaceFault(() => this.#options.onClosed(asClosed(error), this.#options.clock.unixUs()));
    }
  }

  #socketError(cause: Error): SwitchoverError {
    if (this.#state !== "greeting") return closedError(`The QMP connection broke: ${cause.message}`, cause);
    return new SwitchoverError("UNAVAILABLE", `The QMP socket cannot be reached: ${cause.message}`, {
      reason: "QMP_UNREACHABLE",
      cause,
    });
  }
}

function promiseOf(send: (onAnswer: (answer: QmpAnswer) => void) => void): Promise<unknown> {
  return new Promise((resolve, reject) => {
    send((answer) => (answer.kind === "done" ? resolve(answer.value) : reject(answer.error)));
  });
}

function closedError(sentence: string, cause?: unknown): SwitchoverError {
  return new SwitchoverError("UNAVAILABLE", sentence, { reason: "QMP_CLOSED", cause });
}

function asClosed(error: SwitchoverError): SwitchoverError {
  return error.reason === "QMP_CLOSED"
    ? error
    : closedError(`The QMP connection ended: ${error.message}`, error);
}
