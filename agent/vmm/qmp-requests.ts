import { SwitchoverError } from "../../proto/error.ts";
import type { Clock } from "../clock.ts";
import { encodeQmpCommand, type JsonObject, type QmpBand, type QmpMessage } from "./qmp-codec.ts";
import { surfaceFault } from "./surface-fault.ts";

/** What became of a command: QEMU's value, or why there is none. */
export type QmpAnswer<Value = unknown> =
  | {
      readonly kind: "done";
      readonly value: Value;
      readonly sentAtUnixUs: number;
      readonly receivedAtUnixUs: number;
    }
  | {
      readonly kind: "failed";
      readonly error: SwitchoverError;
      readonly sentAtUnixUs: number;
      readonly receivedAtUnixUs: number;
    };

export interface QmpRequest {
  readonly band: QmpBand;
  readonly command: string;
  readonly args: JsonObject | undefined;
  readonly timeoutMs: number;
  readonly onAnswer: (answer: QmpAnswer) => void;
  /** Told where QEMU refuses the command after it had timed out. */
  readonly onLateRefusal?: ((error: SwitchoverError) => void) | undefined;
}

/** Who counts what becomes of commands; called after whoever asked has the answer. Must not throw. */
export interface QmpMeter {
  /** QEMU answered, with a refusal too, so long after the command was sent. Microseconds. */
  answered(command: string, tookUs: number): void;
  /** It was refused, or there is no answer; also where it was not even sent. */
  failed(command: string, reason: string): void;
}

/**
 * QEMU stops reading its monitor with more than eight in-band commands in its queue, and then reads no
 * out-of-band command either (docs/interop/qmp-spec): so no more than that are ever on the way.
 */
export const MAX_IN_BAND_ON_THE_WAY = 8;
export const MAX_OUT_OF_BAND_ON_THE_WAY = 8;
/** In-band commands that wait here for their turn. */
export const MAX_WAITING = 256;

interface Pending {
  readonly request: QmpRequest;
  readonly cancelDeadline: () => void;
  sentAtUnixUs: number;
  /** Settled is what has had its `onAnswer`. One that timed out still occupies QEMU's queue until it is answered. */
  fate: "waiting" | "sent" | "settled";
}

/**
 * The commands of one connection that have no answer yet: gives ids, keeps QEMU's queue bound, matches answers,
 * applies deadlines. `onAnswer` is called exactly once for each, from `answer()` itself where QEMU answered, and
 * never before `send()` has returned.
 */
export class QmpRequests {
  readonly #write: (line: string) => void;
  readonly #clock: Clock;
  readonly #meter: QmpMeter | undefined;
  readonly #onTheWay = new Map<number, Pending>();
  readonly #waiting: Pending[] = [];
  readonly #count: Record<QmpBand, number> = { "in-band": 0, "out-of-band": 0 };
  #lastId = 0;
  #closed: SwitchoverError | undefined;

  /** Without a meter nobody counts. */
  constructor(write: (line: string) => void, clock: Clock, meter?: QmpMeter) {
    this.#write = write;
    this.#clock = clock;
    this.#meter = meter;
  }

  send(request: QmpRequest): void {
    const refusal = this.#closed ?? this.#full(request);
    if (refusal !== undefined) {
      const atUnixUs = this.#clock.unixUs();
      queueMicrotask(() => this.#deliver(request, failed(refusal, atUnixUs, atUnixUs)));
      return;
    }
    const pending: Pending = {
      request,
      cancelDeadline: this.#clock.after(request.timeoutMs, () => this.#lookOnceMore(pending)),
      sentAtUnixUs: this.#clock.unixUs(),
      fate: "waiting",
    };
    if (request.band === "in-band" && this.#count["in-band"] >= MAX_IN_BAND_ON_THE_WAY)
      this.#waiting.push(pending);
    else this.#dispatch(pending);
  }

  /** Hands an answer to the command it belongs to; one that nobody waits for any more is dropped, unless it is a refusal. */
  answer(message: Extract<QmpMessage, { kind: "return" | "error" }>, receivedAtUnixUs: number): void {
    const pending = message.id === undefined ? undefined : this.#onTheWay.get(message.id);
    if (message.id === undefined || pending === undefined) return;
    this.#onTheWay.delete(message.id);
    this.#count[pending.request.band] -= 1;
    const next = this.#count["in-band"] < MAX_IN_BAND_ON_THE_WAY ? this.#waiting.shift() : undefined;
    if (next !== undefined) this.#dispatch(next);
    const { sentAtUnixUs, request } = pending;
    const answer: QmpAnswer =
      message.kind === "return"
        ? { kind: "done", value: message.value, sentAtUnixUs, receivedAtUnixUs }
        : failed(refused(request.command, message.errorClass, message.desc), sentAtUnixUs, receivedAtUnixUs);
    if (pending.fate === "settled") {
      if (answer.kind === "failed") surfaceFault(() => request.onLateRefusal?.(answer.error));
      return;
    }
    pending.fate = "settled";
    pending.cancelDeadline();
    this.#deliver(request, answer);
    this.#meter?.answered(request.command, receivedAtUnixUs - sentAtUnixUs);
  }

  /** Answers every command with `error`, and every later one too. Idempotent: the first error stays. */
  close(error: SwitchoverError): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    const receivedAtUnixUs = this.#clock.unixUs();
    const unanswered = [...this.#onTheWay.values(), ...this.#waiting.splice(0)];
    this.#onTheWay.clear();
    for (const pending of unanswered) {
      if (pending.fate === "settled") continue;
      pending.fate = "settled";
      pending.cancelDeadline();
      this.#deliver(pending.request, failed(error, pending.sentAtUnixUs, receivedAtUnixUs));
    }
  }

  #full(request: QmpRequest): SwitchoverError | undefined {
    const room =
      request.band === "in-band"
        ? this.#waiting.length < MAX_WAITING
        : this.#count["out-of-band"] < MAX_OUT_OF_BAND_ON_THE_WAY;
    if (room) return undefined;
    return new SwitchoverError(
      "RESOURCE_EXHAUSTED",
      `Too many QMP commands have no answer yet; "${request.command}" was not sent.`,
      { reason: "QMP_QUEUE_FULL", metadata: { command: request.command, outcome: "not-sent" } },
    );
  }

  #dispatch(pending: Pending): void {
    const { band, command, args } = pending.request;
    this.#lastId += 1;
    this.#onTheWay.set(this.#lastId, pending);
    this.#count[band] += 1;
    pending.fate = "sent";
    pending.sentAtUnixUs = this.#clock.unixUs();
    this.#write(encodeQmpCommand(band, command, args, this.#lastId));
  }

  /** After a stalled event loop a timer runs before the socket is read: the answer may be there already. */
  #lookOnceMore(pending: Pending): void {
    setImmediate(() => {
      if (pending.fate === "settled") return;
      const outcome = pending.fate === "sent" ? "unknown" : "not-sent";
      if (pending.fate === "waiting") this.#waiting.splice(this.#waiting.indexOf(pending), 1);
      pending.fate = "settled";
      const { request, sentAtUnixUs } = pending;
      this.#deliver(request, failed(timedOut(request, outcome), sentAtUnixUs, this.#clock.unixUs()));
    });
  }

  #deliver(request: QmpRequest, answer: QmpAnswer): void {
    surfaceFault(() => request.onAnswer(answer));
    if (answer.kind === "failed") this.#meter?.failed(request.command, answer.error.reason);
  }
}

function failed(error: SwitchoverError, sentAtUnixUs: number, receivedAtUnixUs: number): QmpAnswer {
  return { kind: "failed", error, sentAtUnixUs, receivedAtUnixUs };
}

function refused(command: string, errorClass: string, desc: string): SwitchoverError {
  return new SwitchoverError("FAILED_PRECONDITION", `QEMU refused "${command}": ${desc}`, {
    reason: "QMP_REFUSED",
    metadata: { command, class: errorClass, desc },
  });
}

function timedOut(request: QmpRequest, outcome: "unknown" | "not-sent"): SwitchoverError {
  const { command, timeoutMs } = request;
  return new SwitchoverError(
    "DEADLINE_EXCEEDED",
    outcome === "unknown"
      ? `QEMU did not answer "${command}" within ${timeoutMs} ms; whether it took effect is unknown.`
      : `"${command}" was not sent within ${timeoutMs} ms, because QEMU answers none of the commands before it.`,
    { reason: "QMP_TIMEOUT", metadata: { command, outcome } },
  );
}
