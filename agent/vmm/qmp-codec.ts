import { SwitchoverError } from "../../proto/error.ts";

/** A longer line is not QMP's: the longest real one, the answer to `query-qmp-schema`, has about 0.2 MB. */
export const MAX_QMP_LINE_BYTES = 16 * 1024 * 1024;

const NEWLINE = 0x0a;

export type JsonObject = Readonly<Record<string, unknown>>;

export interface QmpVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
  /** What the distributor calls its build, for example `Debian 1:7.2+dfsg-7`; may be empty. */
  readonly packageText: string;
}

/** One line that QEMU sent. `id` is what the command carried; undefined where QEMU could not read the command. */
export type QmpMessage =
  | { readonly kind: "greeting"; readonly version: QmpVersion; readonly capabilities: readonly string[] }
  | { readonly kind: "return"; readonly id: number | undefined; readonly value: unknown }
  | {
      readonly kind: "error";
      readonly id: number | undefined;
      readonly errorClass: string;
      readonly desc: string;
    }
  | {
      readonly kind: "event";
      readonly name: string;
      readonly data: JsonObject;
      /** QEMU's own clock; undefined where QEMU could not read it (it then sends -1). */
      readonly atUnixUs: number | undefined;
    };

/** In-band commands run in order in QEMU's main loop; out-of-band ones run beside it, also while it is stuck. */
export type QmpBand = "in-band" | "out-of-band";

/** The line that asks for `command`, ended by a newline (`execute` or `exec-oob`). */
export function encodeQmpCommand(
  band: QmpBand,
  command: string,
  args: JsonObject | undefined,
  id: number,
): string {
  const verb = band === "in-band" ? "execute" : "exec-oob";
  const message = args === undefined ? { [verb]: command, id } : { [verb]: command, arguments: args, id };
  return `${JSON.stringify(message)}\n`;
}

/**
 * Returns what a line says. Throws INTERNAL, reason QMP_MALFORMED, for anything that is not a QMP message;
 * nothing else is ever thrown, whatever the bytes.
 */
export function parseQmpLine(line: string): QmpMessage {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch (cause) {
    throw malformed(line, "is not JSON", cause);
  }
  if (!isJsonObject(parsed)) throw malformed(line, "is not a JSON object");
  if ("return" in parsed) return { kind: "return", id: idOf(parsed), value: parsed.return };
  if ("error" in parsed) return parseError(parsed, line);
  if ("event" in parsed) return parseEvent(parsed, line);
  if ("QMP" in parsed) return parseGreeting(parsed, line);
  throw malformed(line, "is neither greeting, return, error nor event");
}

/** Cuts a byte stream into lines; keeps what is not ended yet. One splitter serves one connection. */
export class QmpLineSplitter {
  readonly #maxLineBytes: number;
  #parts: Uint8Array[] = [];
  #bytes = 0;

  constructor(maxLineBytes = MAX_QMP_LINE_BYTES) {
    this.#maxLineBytes = maxLineBytes;
  }

  /**
   * Calls `onLine` for every line that `chunk` completes, in order, without its line end; skips blank lines.
   * Throws RESOURCE_EXHAUSTED, reason QMP_LINE_TOO_LONG, once a line is over the bound; use no further then.
   */
  push(chunk: Uint8Array, onLine: (line: string) => void): void {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      this.#keep(chunk.subarray(from, end));
      from = end + 1;
      const line = this.#take();
      if (line !== "") onLine(line);
    }
    if (from < chunk.length) this.#keep(chunk.subarray(from));
  }

  #keep(part: Uint8Array): void {
    this.#bytes += part.length;
    if (this.#bytes > this.#maxLineBytes) {
      throw new SwitchoverError(
        "RESOURCE_EXHAUSTED",
        `A QMP line has more than ${this.#maxLineBytes} bytes.`,
        {
          reason: "QMP_LINE_TOO_LONG",
        },
      );
    }
    this.#parts.push(part);
  }

  #take(): string {
    const [first, second] = this.#parts;
    const bytes = first !== undefined && second === undefined ? first : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8").trim();
  }
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseError(message: JsonObject, line: string): QmpMessage {
  const error = message.error;
  if (!isJsonObject(error)) throw malformed(line, "has an error that is not an object");
  const { class: errorClass, desc } = error;
  if (typeof errorClass !== "string" || typeof desc !== "string") {
    throw malformed(line, "has an error without class or desc");
  }
  return { kind: "error", id: idOf(message), errorClass, desc };
}

function parseEvent(message: JsonObject, line: string): QmpMessage {
  const { event: name, data, timestamp } = message;
  if (typeof name !== "string") throw malformed(line, "has an event without a name");
  if (data !== undefined && !isJsonObject(data))
    throw malformed(line, "has event data that is not an object");
  return { kind: "event", name, data: data ?? {}, atUnixUs: unixUsOf(timestamp) };
}

function parseGreeting(message: JsonObject, line: string): QmpMessage {
  const greeting = message.QMP;
  if (!isJsonObject(greeting)) throw malformed(line, "has a greeting that is not an object");
  const capabilities = greeting.capabilities;
  return {
    kind: "greeting",
    version: parseQmpVersion(greeting.version),
    capabilities: Array.isArray(capabilities) ? capabilities.filter((name) => typeof name === "string") : [],
  };
}

/** The version in a greeting or in the answer to `query-version`; what is missing reads as 0 or empty. */
export function parseQmpVersion(value: unknown): QmpVersion {
  const version = isJsonObject(value) ? value : {};
  const numbers = isJsonObject(version.qemu) ? version.qemu : {};
  const packageText = version.package;
  return {
    major: numberOr(numbers.major, 0),
    minor: numberOr(numbers.minor, 0),
    micro: numberOr(numbers.micro, 0),
    packageText: typeof packageText === "string" ? packageText : "",
  };
}

function unixUsOf(timestamp: unknown): number | undefined {
  if (!isJsonObject(timestamp)) return undefined;
  const seconds = numberOr(timestamp.seconds, -1);
  const microseconds = numberOr(timestamp.microseconds, -1);
  return seconds < 0 || microseconds < 0 ? undefined : seconds * 1_000_000 + microseconds;
}

function idOf(message: JsonObject): number | undefined {
  const id = message.id;
  return typeof id === "number" ? id : undefined;
}

function numberOr(value: unknown, otherwise: number): number {
  return typeof value === "number" ? value : otherwise;
}

function malformed(line: string, fault: string, cause?: unknown): SwitchoverError {
  return new SwitchoverError("INTERNAL", `A line on the QMP socket ${fault}: ${line.slice(0, 120)}`, {
    reason: "QMP_MALFORMED",
    cause,
  });
}
