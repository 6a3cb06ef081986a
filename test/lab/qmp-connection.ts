import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { SwitchoverError } from "../../proto/error.ts";
import { deadlineExceeded, withDeadline } from "./deadline.ts";

/** One asynchronous QMP message, with the time that QEMU itself put on it. */
export interface QmpEvent {
  readonly name: string;
  readonly atUnixUs: number;
  readonly data: Readonly<Record<string, unknown>>;
}

interface QmpMessage {
  readonly QMP?: unknown;
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
  readonly timestamp?: { readonly seconds: number; readonly microseconds: number };
  readonly data?: Readonly<Record<string, unknown>>;
}

const COMMAND_TIMEOUT_MS = 10_000;

/**
 * The lab's own QMP client. It shares no code with the agent's on purpose: a witness that reads QEMU through
 * the code under test would repeat its mistakes.
 */
export class QmpConnection {
  readonly #socket: Socket;
  readonly #replies = new Map<number, (message: QmpMessage) => void>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #waits = new Set<() => void>();
  readonly #closed: Promise<void>;
  #greeted: () => void = () => {};
  #nextId = 1;
  #state: "open" | "closed" = "open";

  private constructor(path: string) {
    this.#socket = connect(path);
    this.#socket.on("error", () => {});
    this.#closed = new Promise((resolve) => {
      this.#socket.once("close", () => {
        this.#state = "closed";
        const gone = { error: { class: "ConnectionClosed", desc: "QEMU closed the QMP socket." } };
        for (const answer of this.#replies.values()) answer(gone);
        this.#replies.clear();
        for (const abandon of [...this.#waits]) abandon();
        resolve();
      });
    });
    createInterface({ input: this.#socket })
      .on("line", (line) => this.#onMessage(JSON.parse(line)))
      .on("error", () => {});
  }

  /** Connects and negotiates. `listener` hears every event from the first on. Throws DEADLINE_EXCEEDED. */
  static async open(path: string, listener?: (event: QmpEvent) => void): Promise<QmpConnection> {
    const connection = new QmpConnection(path);
    if (listener !== undefined) connection.#listeners.add(listener);
    const greeting = new Promise<void>((resolve, reject) => {
      connection.#greeted = resolve;
      void connection.#closed.then(() =>
        reject(qmpError("greeting", "ConnectionClosed", `QEMU is not there or closed ${path}.`)),
      );
    });
    try {
      await withDeadline(greeting, COMMAND_TIMEOUT_MS, `A greeting on ${path} (one client at a time)`);
      await connection.execute("qmp_capabilities");
    } catch (cause) {
      connection.close();
      throw cause;
    }
    return connection;
  }

  /** Resolves when QEMU or this side closed the socket. */
  get closed(): Promise<void> {
    return this.#closed;
  }

  /** Returns the command's `return`; throws ABORTED (QMP_ERROR) with QEMU's words, or DEADLINE_EXCEEDED. */
  async execute<T = unknown>(command: string, args?: Readonly<Record<string, unknown>>): Promise<T> {
    if (this.#state === "closed") throw qmpError(command, "ConnectionClosed", "The QMP socket is closed.");
    const id = this.#nextId++;
    const reply = new Promise<QmpMessage>((resolve) => this.#replies.set(id, resolve));
    this.#socket.write(
      `${JSON.stringify({ execute: command, id, ...(args === undefined ? {} : { arguments: args }) })}\n`,
    );
    const message = await withDeadline(reply, COMMAND_TIMEOUT_MS, `QMP ${command}`).finally(() =>
      this.#replies.delete(id),
    );
    if (message.error !== undefined) throw qmpError(command, message.error.class, message.error.desc);
    return message.return as T;
  }

  /**
   * Resolves with the first event after this call that `matches`. Rejects with what `matches` throws, with
   * ABORTED when the socket closes first, and with DEADLINE_EXCEEDED naming `what`.
   */
  waitForEvent(matches: (event: QmpEvent) => boolean, timeoutMs: number, what: string): Promise<QmpEvent> {
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void) => {
        clearTimeout(timer);
        this.#listeners.delete(listener);
        this.#waits.delete(abandon);
        finish();
      };
      const listener = (event: QmpEvent) => {
        try {
          if (matches(event)) settle(() => resolve(event));
        } catch (cause) {
          settle(() => reject(cause));
        }
      };
      const abandon = () =>
        settle(() => reject(qmpError(what, "ConnectionClosed", "The QMP socket closed.")));
      const timer = setTimeout(() => settle(() => reject(deadlineExceeded(what, timeoutMs))), timeoutMs);
      this.#listeners.add(listener);
      this.#waits.add(abandon);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #onMessage(message: QmpMessage): void {
    if (message.QMP !== undefined) this.#greeted();
    if (message.id !== undefined) this.#replies.get(message.id)?.(message);
    if (message.event !== undefined && message.timestamp !== undefined) {
      const { seconds, microseconds } = message.timestamp;
      const event = { name: message.event, atUnixUs: seconds * 1e6 + microseconds, data: message.data ?? {} };
      for (const listener of [...this.#listeners]) listener(event);
    }
  }
}

function qmpError(command: string, errorClass: string, description: string): SwitchoverError {
  return new SwitchoverError("ABORTED", `QMP ${command}: ${description}`, {
    reason: "QMP_ERROR",
    metadata: { command, class: errorClass, description },
  });
}
