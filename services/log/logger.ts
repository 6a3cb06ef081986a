import pino from "pino";
import type { Log, LogLevel } from "./log.ts";

/** Lines that wait for a slow reader; what comes beyond is dropped, for a log must never stop an agent. */
const BUFFER_LIMIT_BYTES = 8 * 1024 * 1024;

export interface LoggerOptions {
  readonly service: string;
  /** The host that the program speaks for; absent where it speaks for none. */
  readonly host?: string;
  readonly level: LogLevel;
  /** File descriptor; 2 unless told otherwise, so that a program's output stays its own. */
  readonly fd?: number;
}

/** A log and the way to bring out what it holds. */
export interface Logger {
  readonly log: Log;
  /** Writes what is still buffered, synchronously; for the last moment of a program. Never throws. */
  flush(): void;
}

/**
 * One JSON line an entry: `time` (ISO 8601), `level`, `service`, `host`, the entry's fields and `msg`. Writing happens
 * off the event loop; an entry costs its formatting only.
 */
export function openLogger(options: LoggerOptions): Logger {
  const destination = pino.destination({
    fd: options.fd ?? 2,
    sync: false,
    maxLength: BUFFER_LIMIT_BYTES,
  });
  // A reader that went away (EPIPE) is no reason to stop.
  destination.on("error", () => {});
  const log = pino(
    {
      level: options.level,
      base: { service: options.service, ...(options.host === undefined ? {} : { host: options.host }) },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
  return {
    log,
    flush: () => {
      try {
        destination.flushSync();
      } catch {
        // Not open yet, or its reader is gone: there is nobody left to tell.
      }
    },
  };
}
